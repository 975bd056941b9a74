"""The last words of a run: the final accuracy, and where everything is."""

from __future__ import annotations

import json

import click

from ..storage import keys
from ..storage.objects import ObjectStore
from .changes import metrics_text
from .status import JobStatus

_FILES = (
    ("final.safetensors", "final model"),
    ("best.safetensors", "best model"),
    ("curves.png", "curves"),
    ("metrics.csv", "metrics"),
)


def print_outcome(store: ObjectStore, status: JobStatus, *, as_json: bool) -> None:
    """Print what came of the job."""
    found = {name: _place(store, keys.derived(status.job, name)) for name, _ in _FILES}
    places = {name: place for name, place in found.items() if place is not None}
    checkpoints = _folder(store, status)
    if checkpoints:
        places["checkpoints"] = checkpoints
    if as_json:
        click.echo(json.dumps(_facts(status, places), ensure_ascii=False))
        return
    click.echo("")
    click.echo(_sentence(status))
    for name, what in (*_FILES, ("checkpoints", "checkpoints")):
        if name in places:
            click.echo(f"  {what:<12} {places[name]}")


def _sentence(status: JobStatus) -> str:
    rounds = f"{status.rounds_done} of {status.spec.rounds} rounds"
    if status.state != "done":
        return f"{status.job} {status.state} after {rounds}: {status.reason}"
    evaluation = status.last_evaluation
    if evaluation is None:
        return f"{status.job} done, {rounds}."
    if evaluation.held_out:
        where = f"on {evaluation.held_out_examples} held-out examples"
        return f"{status.job} done, {rounds}: {metrics_text(evaluation.held_out)} {where}."
    return f"{status.job} done, {rounds}: {metrics_text(evaluation.validation)} on validation shares."


def _place(store: ObjectStore, key: str) -> str | None:
    if store.stat(key) is None:
        return None
    path = store.local_path(key)
    return str(path) if path is not None else key


def _folder(store: ObjectStore, status: JobStatus) -> str | None:
    last = _place(store, keys.checkpoint(status.job, status.rounds_done))
    return last.rpartition("/")[0] + "/" if last else None


def _facts(status: JobStatus, places: dict[str, str]) -> dict[str, object]:
    evaluation = status.last_evaluation
    return {
        "event": "result",
        "job": status.job,
        "state": status.state,
        "reason": status.reason,
        "rounds": status.rounds_done,
        "round": evaluation.round if evaluation else None,
        "held_out": evaluation.held_out if evaluation else {},
        "validation": evaluation.validation if evaluation else {},
        "places": places,
    }
