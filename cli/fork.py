"""Forking: the old job's settings with options on top, then the new job beside it."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

from ..aggregator.forking import check_round, fork
from ..aggregator.record import Record
from ..broker.topology import SUBMISSIONS
from ..storage.errors import SpecInvalid
from ..storage.job import JobSpec
from .connect import View, open_servers, open_view
from .jobfile import apply_options, as_job_file, resolve_job
from .jobs import find_job, remember
from .options import Given
from .stored_job import draft_of, task_of
from .submission import check_deadlines, tell
from .task_source import TaskSource


@dataclass(frozen=True, slots=True)
class Wish:
    """What to fork, and what is to be other than it was."""

    job: str
    at: int
    settings: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    name: str | None = None


def fork_job(wish: Wish, given: Given, folder: Path | None, *, dry_run: bool, as_json: bool) -> int:
    """Fork a job of the servers, and tell the aggregators; or one of a folder. Returns the exit code."""
    if folder is not None or dry_run:
        with open_view(given, folder) as view:
            _fork(view, wish, dry_run=dry_run, as_json=as_json, folder=folder)
        return 0
    with open_servers(given, "warren job fork") as servers:
        servers.broker.declare([SUBMISSIONS])
        spec = _fork(servers.view, wish, dry_run=False, as_json=as_json, folder=None)
        tell(servers.broker, spec.job)
    return 0


def _fork(view: View, wish: Wish, *, dry_run: bool, as_json: bool, folder: Path | None) -> JobSpec:
    source = find_job(view, wish.job)
    spec, task = resolve_fork(view, source, wish)
    if folder is None:
        check_deadlines(spec)
    if dry_run:
        click.echo(spec.model_dump_json() if as_json else as_job_file(spec), nl=as_json)
        return spec
    copy_job(view, source, wish.at, spec, task)
    remember(view.place, spec.job)
    said = {"event": "forked", "job": spec.job, "from": source, "round": wish.at}
    click.echo(json.dumps(said) if as_json else spec.job)
    _hint(spec, folder, as_json)
    return spec


def resolve_fork(view: View, source: str, wish: Wish) -> tuple[JobSpec, TaskSource]:
    """The new job: the old one's settings and task, unless an option says otherwise.

    Raises:
        SpecInvalid: an option is wrong, or no round is left and none was asked for.
        ObjectMissing: the round has no checkpoint.
    """
    record = Record(view.store, source)
    check_round(record, wish.at)
    old = record.spec()
    draft = draft_of(old)
    draft.fields["rounds"] = old.rounds - wish.at
    apply_options(draft, wish.settings, wish.params)
    if draft.fields["rounds"] == 0:
        raise SpecInvalid(
            f"{source} has {old.rounds} rounds, so none is left after {wish.at}. Say how many: --set rounds=10"
        )
    return resolve_job(draft, task=task_of(view.store, old), name=wish.name)


def copy_job(view: View, source: str, at: int, spec: JobSpec, task: TaskSource) -> None:
    """Make the job. Raises ObjectMissing where the round has no checkpoint."""
    with tempfile.TemporaryDirectory(prefix="warren-fork-", ignore_cleanup_errors=True) as scratch:
        fork(view.store, source, at, spec, task.body, Path(scratch) / "spool")


def _hint(spec: JobSpec, folder: Path | None, as_json: bool) -> None:
    if as_json:
        return
    if isinstance(spec.train.lr, dict) or spec.train.lr_decay != 1:
        click.echo("Rounds count anew from 1, and so does the learning rate's course.", err=True)
    if folder is not None:
        click.echo(f"To run it:\n  warren run --resume {spec.job} --store {folder}", err=True)
