"""What happened to a job, a line each, oldest first: read from its documents, so it needs no service that was there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from ..aggregator.record import Record
from ..storage import keys
from ..storage.documents import Control, Evaluation, Manifest, read_document
from ..storage.errors import ObjectDamaged
from .changes import metrics_text
from .connect import View

_D = TypeVar("_D", Manifest, Evaluation, Control)
_DONE = {"pause": "paused", "resume": "resumed", "cancel": "cancelled", "fail": "failed", "done": "done"}


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened; `at` is the wall clock of whoever wrote it down, in UTC, to the second."""

    at: str
    event: str
    text: str
    round: int | None = None
    client: str | None = None


def print_log(view: View, job: str, *, tail: int | None, as_json: bool) -> None:
    """Print the lines, or the last so many. In a folder it also names the file in which the services wrote theirs."""
    lines = sorted(log_lines(view, job), key=lambda line: line.at)  # stable: what has one time stays in its order
    for line in lines if tail is None else lines[max(0, len(lines) - tail) :]:
        if as_json:
            facts = {"at": line.at, "event": line.event, "round": line.round, "client": line.client, "text": line.text}
            click.echo(json.dumps({"job": job, **facts}, ensure_ascii=False))
        else:
            click.echo(f"{line.at[:19].replace('T', ' ')}  {line.text}")
    own = Path(view.place) / "logs" / f"{job}.log"
    if not as_json and view.ledger is None and own.is_file():
        click.echo(f"The services' own lines: {own}", err=True)


def log_lines(view: View, job: str) -> Iterator[Line]:
    """Every line, in the order of kinds; a document that is damaged is a line too. Raises StorageError."""
    spec = Record(view.store, job).spec()
    yield Line(spec.submitted, "submitted", f"submitted: task {spec.task.name}, {spec.rounds} rounds")
    for manifest in _read(view, keys.manifests(job), Manifest):
        yield from [manifest] if isinstance(manifest, Line) else _round(manifest)
    for evaluation in _read(view, keys.evaluations(job), Evaluation):
        yield from [evaluation] if isinstance(evaluation, Line) else _evaluation(evaluation)
    for control in _read(view, keys.controls(job), Control):
        yield control if isinstance(control, Line) else _control(control)


def _read(view: View, prefix: str, kind: type[_D]) -> Iterator[_D | Line]:
    for info in view.store.list(prefix):
        try:
            yield read_document(kind, view.store.read(info.key), info.key)
        except ObjectDamaged as error:
            yield Line("", "damaged", str(error))


def _round(manifest: Manifest) -> Iterator[Line]:
    number, at = manifest.round, manifest.frozen_at
    for what, clients in (
        ("rejected", manifest.rejected),
        ("failed", manifest.failed),
        ("silent", manifest.silent),
    ):
        for client, why in clients.items():
            yield Line(at, what, f"round {number}  {client} {what}: {why}", number, client)
    counted = f"{len(manifest.entries)} of {manifest.asked} in, {manifest.seconds:.1f} s"
    text = f"round {number}  frozen: {counted}: {manifest.reason}  {metrics_text(manifest.metrics)}"
    yield Line(at, "round", text.rstrip(), number)


def _evaluation(evaluation: Evaluation) -> Iterator[Line]:
    number = evaluation.round
    where, numbers = ("held-out", evaluation.held_out) if evaluation.held_out else ("validation", evaluation.validation)
    yield Line(evaluation.at, "evaluation", f"round {number}  evaluated: {metrics_text(numbers)} ({where})", number)
    for who, why in evaluation.missing.items():
        text = f"round {number}  not evaluated by {who}: {why}"
        yield Line(evaluation.at, "not-evaluated", text, number, who.partition(" ")[2])


def _control(control: Control) -> Line:
    by = f" by {control.by}" if control.by else ""
    because = f": {control.reason}" if control.reason else ""
    return Line(control.at, control.command, f"{_DONE[control.command]}{by}{because}")
