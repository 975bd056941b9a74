"""Collects what a store no longer needs, and removes jobs: what went, or would go, is named with its bytes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence

import click

from ..aggregator.record import Record
from ..aggregator.retention import Waste, halves, orphans, remove, waste
from ..broker.errors import BrokerError
from ..storage import keys
from ..storage.errors import StorageError
from ..storage.uploads import KeepsUploads, abandoned
from .connect import View
from .errors import CliError, UsageMistake
from .jobs import command_job, find_job
from .tables import size_text

LET_GO_SECONDS_MAX = 30.0  # an aggregator that lays out a cancelled job's results takes a second or two
LOOK_SECONDS = 0.2


def collect(view: View, jobs: Sequence[str], *, dry_run: bool, as_json: bool) -> None:
    """Delete, or only list, what is not needed of these jobs, or of the whole store."""
    count, size = 0, 0
    for found in _found(view, jobs):
        if not dry_run:
            view.store.delete(found.key)
        count, size = count + 1, size + found.size
        if as_json:
            click.echo(json.dumps({"key": found.key, "bytes": found.size, "reason": found.reason}))
        elif dry_run:
            click.echo(f"{size_text(found.size):>8}  {found.key}  {found.reason}")
    if not jobs:
        _abort_uploads(view, dry_run=dry_run, as_json=as_json)
    if as_json:
        return
    click.echo(f"{'would free' if dry_run else 'freed'} {size_text(size)} in {count} objects")
    for job in [] if jobs else halves(view.store):
        click.echo(
            f"{job} has no job.json: what made it broke off, or is at it. `warren job rm {job}` deletes it.", err=True
        )


def _abort_uploads(view: View, *, dry_run: bool, as_json: bool) -> None:
    """End uploads in parts that are a day old. What they hold, the store does not say."""
    for upload in abandoned(view.store):
        if not dry_run and isinstance(view.store, KeepsUploads):
            view.store.abort(upload)
        hours = upload.age_seconds / 3600
        if as_json:
            reason = f"an upload that broke off {hours:.0f} hours ago"
            click.echo(json.dumps({"key": upload.key, "bytes": None, "reason": reason}))
        else:
            said = "would be aborted" if dry_run else "aborted"
            click.echo(f"upload of {upload.key}, begun {hours:.0f} hours ago, {said}")


def _found(view: View, jobs: Sequence[str]) -> Iterator[Waste]:
    """What may go. A job that can't be read is named, and its neighbours are collected all the same."""
    chosen = [find_job(view, job) for job in jobs]
    for job in chosen or [name for name in view.store.folders("jobs/") if keys.is_name(name)]:
        if not chosen and view.store.stat(keys.spec(job)) is None:
            continue
        try:
            yield from waste(view.store, Record(view.store, job).spec())
        except StorageError as error:
            if chosen:
                raise
            click.echo(f"warren: {job} is left as it is: {error}", err=True)
    if not jobs:
        yield from orphans(view.store)


def remove_jobs(view: View, jobs: Sequence[str], *, force: bool, as_json: bool) -> None:
    """Delete these jobs.

    Raises:
        CliError: one is not over, and `force` was not said. Nothing of it was deleted.
    """
    for job in [_removable(view, text) for text in jobs]:
        _end(view, job, force)
        gone = list(remove(view.store, job))
        _forget(view, job)
        size = sum(info.size for info in gone)
        if as_json:
            click.echo(json.dumps({"job": job, "objects": len(gone), "bytes": size}))
        else:
            click.echo(f"{job} removed: {size_text(size)} in {len(gone)} objects")


def _removable(view: View, text: str) -> str:
    """The job that is meant; also what a removing that broke off has left of one."""
    try:
        return find_job(view, text)
    except UsageMistake:
        if keys.is_name(text) and any(_left(view, text)):
            return text
        raise


def _left(view: View, job: str) -> Iterable[object]:
    yield from view.store.list(keys.job_prefix(job))
    yield from view.store.list(keys.updates(job))


def _end(view: View, job: str, force: bool) -> None:
    """See that the job is over, and that its leader has let go: what it still writes would be left behind."""
    if view.store.stat(keys.spec(job)) is None:
        return
    if Record(view.store, job).control().command not in ("cancel", "fail", "done"):
        if not force:
            raise CliError(f"{job} is not over. `warren job cancel {job}` ends it; --force does that first.")
        command_job(view, job, "cancel", "removed")
    until = time.monotonic() + LET_GO_SECONDS_MAX
    while view.ledger is not None and view.ledger.holder(job) is not None:
        if time.monotonic() > until:
            raise CliError(
                f"{job} is over, and its aggregator still at it after {LET_GO_SECONDS_MAX:.0f} s. Try again."
            )
        time.sleep(LOOK_SECONDS)


def _forget(view: View, job: str) -> None:
    """What Redis holds of it goes too; it would vanish by itself."""
    try:
        if view.ledger is not None:
            view.ledger.forget(job)
        if view.news is not None:
            view.news.forget(job)
    except (StorageError, BrokerError) as error:
        click.echo(f"warren: Redis still knows of {job}: {error}", err=True)
