"""The last words of a run: the final accuracy, and where everything is."""

from __future__ import annotations

import json
from pathlib import Path

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
    ("checkpoints", "checkpoints"),
)


def print_outcome(store: ObjectStore, status: JobStatus, *, as_json: bool) -> None:
    """Print what came of the job."""
    found = {name: _place(store, keys.derived(status.job, name)) for name, _ in _FILES[:-1]}
    places = {name: place for name, place in found.items() if place is not None}
    checkpoints = _folder(store, status)
    if checkpoints:
        places["checkpoints"] = checkpoints
    if as_json:
        click.echo(json.dumps(_facts(status, places), ensure_ascii=False))
        return
    rounds = f"{status.rounds_done} of {status.spec.rounds} rounds"
    because = f": {status.reason}" if status.state != "done" else ""
    click.echo(f"\n{status.job} {status.state}, {rounds}{because}")
    for what, said in (*_numbers(status), *((what, places[name]) for name, what in _FILES if name in places)):
        click.echo(f"  {what:<12} {_from_here(said)}")


def _numbers(status: JobStatus) -> list[tuple[str, str]]:
    evaluation = status.last_evaluation
    if evaluation is None:
        return []
    if evaluation.held_out:
        count = f"{evaluation.held_out_examples} examples"
        return [("held-out", f"{metrics_text(evaluation.held_out)}  (round {evaluation.round}, {count})")]
    return [("validation", f"{metrics_text(evaluation.validation)}  (round {evaluation.round})")]


def _place(store: ObjectStore, key: str) -> str | None:
    if store.stat(key) is None:
        return None
    path = store.local_path(key)
    if path is None:
        return key
    return str(path)


def _from_here(place: str) -> str:
    """A path in as few letters as a person needs; scripts get it whole."""
    here = f"{Path.cwd()}/"
    return place.removeprefix(here)


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
