"""What `warren job list` and `warren job show` print."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import click

from ..aggregator.holding import most_held
from ..aggregator.record import Record
from ..aggregator.results import SPREAD
from ..storage import keys
from ..storage.documents import Control, read_document
from ..storage.errors import ObjectMissing, StorageError
from ..storage.job import JobSpec
from .connect import View
from .jobfile import as_job_file
from .room_watch import formula, model_bytes
from .status import JobStatus, RoundResult, StatusReader
from .tables import print_table, size_text
from .toml_text import write_toml

ALWAYS = ("task", "clients", "sites", "rounds", "quorum", "deadline")  # settings that are shown by default too
REASON_SHOWN = 24  # characters, so that the table fits into 80 columns
DERIVED = ("final.safetensors", "best.safetensors", "metrics.csv", "curves.png")


def print_jobs(view: View, *, as_json: bool) -> None:
    """A line a job, newest first; one that can't be read is named all the same."""
    rows = [_summary(view, job) for job in view.store.folders("jobs/")]
    rows.sort(key=lambda row: (row["submitted"], row["job"]), reverse=True)
    if as_json:
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False))
        return
    if not rows:
        click.echo(f"no jobs in {view.place}: start one with `warren submit` or `warren run`", err=True)
        return
    header = ["job", "state", "rounds", "accuracy", "loss", "submitted", "reason"]
    print_table(header, [[_cell(row, name) for name in header] for row in rows])


def _summary(view: View, job: str) -> dict[str, Any]:
    try:
        status = StatusReader(view.store, job, view.ledger).read()
    except StorageError as error:
        return {"job": job, "state": "unreadable", "reason": str(error), "submitted": ""}
    last = status.results[-1] if status.results else None
    return {
        "job": job,
        "state": status.state,
        "round": status.rounds_done,
        "rounds": status.spec.rounds,
        "accuracy": last and last.metric("accuracy"),
        "loss": last and last.metric("loss"),
        "submitted": status.spec.submitted,
        "reason": status.reason,
    }


def _cell(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if name == "rounds":
        return f"{row['round']}/{value}" if value else ""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value or "")
    return text if len(text) <= 60 else text[:59] + "…"


def print_job(view: View, job: str, *, as_json: bool) -> None:
    """Everything about one job."""
    status = StatusReader(view.store, job, view.ledger, room=True).read()
    controls = _controls(view, job)
    if as_json:
        click.echo(json.dumps(_facts(view, status, controls), ensure_ascii=False))
        return
    click.echo(f"{click.style(job, bold=True)}  {status.state}" + (f": {status.reason}" if status.reason else ""))
    for warning in status.warnings:
        click.echo(f"! {warning}")
    click.echo(_room(status))
    if origin := _origin(view, job):
        click.echo(f"forked from round {origin.get('round')} of {origin.get('job')}")
    click.echo(f"\n{_settings(status.spec)}")
    if status.results:
        print_table(*_round_table(status))
    _print_spread(status)
    _print_trouble(status)
    for _, control in controls:
        click.echo(f"{control.at}  {control.command} ({control.by or 'aggregator'}) {control.reason}".rstrip())
    for key in _results(view, job):
        click.echo(_shown(view, key))


def _origin(view: View, job: str) -> dict[str, str]:
    """What a fork was copied from; empty for any other job."""
    try:
        return Record(view.store, job).manifest(0).forked_from
    except ObjectMissing:
        return {}


def _room(status: JobStatus) -> str:
    """The most that the job can come to hold: in bytes, once its model's size is known."""
    model = model_bytes(status.results[-1].manifest) if status.results else 0
    if not model:
        return formula(status.spec)
    most = most_held(status.spec)
    return f"holds at most {size_text(most.size(model))}: {most.models} models of {size_text(model)}"


def _settings(spec: JobSpec) -> str:
    """The job file without what stands there by default."""
    fields = tomllib.loads(as_job_file(spec))
    bare = JobSpec(job=spec.job, task=spec.task)
    chosen = _chosen(fields, tomllib.loads(as_job_file(bare)))
    return (
        f"{write_toml({name: fields[name] for name in ALWAYS if name in fields} | chosen)}# all others: the defaults\n"
    )


def _chosen(fields: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in fields.items():
        said = _chosen(value, defaults.get(name, {})) if isinstance(value, dict) else value
        if said != defaults.get(name) and said != {}:
            found[name] = said
    return found


def _round_table(status: JobStatus) -> tuple[list[str], list[list[str]]]:
    names = [name for name in ("loss", "accuracy") if any(one.metric(name) is not None for one in status.results)]
    header = ["round", "in", "quorum", *names, "seconds", "updates", "closed"]
    return header, [_round_row(result, names) for result in status.results]


def _round_row(result: RoundResult, names: list[str]) -> list[str]:
    manifest = result.manifest
    values = [result.metric(name) for name in names]
    return [
        str(result.number),
        f"{len(manifest.entries)} of {manifest.asked}",
        str(manifest.quorum),
        *("" if value is None else f"{value:.4g}" for value in values),
        f"{manifest.seconds:.1f}",
        size_text(result.update_bytes),
        manifest.reason.partition(":")[0][:REASON_SHOWN],  # the numbers after it stand in their columns
    ]


def _print_spread(status: JobStatus) -> None:
    """How unequal the last evaluated model serves the clients, metric by metric."""
    last = status.last_evaluation
    if last is None or not any(spread.clients > 1 for spread in last.spread.values()):
        return
    header = ["over clients", "min", "q1", "median", "q3", "max", "std", "worst tenth"]
    rows = [
        [name, *(f"{getattr(spread, part):.3g}" for part in SPREAD), spread.worst]
        for name, spread in last.spread.items()
    ]
    click.echo()
    print_table([*header, "worst"], rows)


def _print_trouble(status: JobStatus) -> None:
    for result in status.results:
        manifest = result.manifest
        for what, clients in (
            ("rejected", manifest.rejected),
            ("failed", manifest.failed),
            ("silent", manifest.silent),
        ):
            for client, why in clients.items():
                click.echo(f"round {manifest.round}  {client} {what}: {why}")


def _controls(view: View, job: str) -> list[tuple[int, Control]]:
    found = []
    for number, info in enumerate(view.store.list(keys.controls(job)), start=1):
        found.append((number, read_document(Control, view.store.read(info.key), info.key)))
    return found


def _results(view: View, job: str) -> list[str]:
    return [key for key in (keys.derived(job, file) for file in DERIVED) if view.store.stat(key) is not None]


def _shown(view: View, key: str) -> str:
    path = view.store.local_path(key)
    if path is None:
        return f"{view.place}/{key}"
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _facts(view: View, status: JobStatus, controls: list[tuple[int, Control]]) -> dict[str, Any]:
    return {
        "job": status.job,
        "state": status.state,
        "reason": status.reason,
        "warnings": status.warnings,
        "spec": status.spec.model_dump(),
        "rounds": [_round_facts(result) for result in status.results],
        "controls": [control.model_dump() for _, control in controls],
        "forked_from": _origin(view, status.job),
        "models_max": most_held(status.spec).models,
        "results": [_shown(view, key) for key in _results(view, status.job)],
    }


def _round_facts(result: RoundResult) -> dict[str, Any]:
    evaluation = result.evaluation
    return {
        **result.manifest.model_dump(),
        "evaluation": evaluation.model_dump(exclude={"job", "round"}) if evaluation else None,
    }
