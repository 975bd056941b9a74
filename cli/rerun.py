"""Running a job again: the stored task, settings and seed under a new id; then whether the bytes are the same."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from .. import __version__
from ..aggregator.comparing import compare, facts_of
from ..aggregator.forking import fork
from ..aggregator.record import Record
from ..broker.topology import SUBMISSIONS
from ..storage.errors import ObjectMissing
from ..storage.folder import FolderStore
from .connect import View, open_servers
from .errors import DONE, FAILED
from .jobfile import new_id
from .jobs import find_job, remember
from .options import Given
from .running import RunOptions, resume_job
from .status import StatusReader
from .stored_job import task_of
from .submission import check_deadlines, store_job, tell
from .verify import sentence
from .watching import follow_job


def rerun_here(text: str, told: RunOptions) -> int:
    """Run a folder's job again, on this machine, and compare. Returns the exit code."""
    view = View(FolderStore(told.store), place=str(told.store.resolve()))
    old = find_job(view, text)
    new = store_again(view, old)
    _announce(view, old, new, here(), as_json=told.as_json)
    code = resume_job(new, told)
    return code or _compared(view, new, old, as_json=told.as_json)


def rerun_on_servers(text: str, given: Given, *, follow: bool, as_json: bool) -> int:
    """Submit a job again; follow and compare it where that was asked. Returns the exit code."""
    with open_servers(given, "warren job rerun") as servers:
        view = servers.view
        old = find_job(view, text)
        check_deadlines(Record(view.store, old).spec())
        servers.broker.declare([SUBMISSIONS])
        new = store_again(view, old)
        tell(servers.broker, new)
        remember(view.place, new)
        _announce(view, old, new, _there(view, new), as_json=as_json)
        if not follow:
            if not as_json:
                click.echo(f"Once it is done: warren job verify {new} --against {old}", err=True)
            return 0
        code = follow_job(view, new, as_json=as_json)
        return code or _compared(view, new, old, as_json=as_json)


def store_again(view: View, old: str) -> str:
    """Store the same job under a new id, which is returned. A fork starts again from the model that it started from.

    Raises:
        ObjectMissing, ObjectDamaged: its task, or a fork's first model, is not there as it was.
    """
    record = Record(view.store, old)
    spec = record.spec()
    task = task_of(view.store, spec)
    submitted = datetime.now(UTC).isoformat(timespec="seconds")
    new = spec.model_copy(update={"job": new_id(spec.task.name), "submitted": submitted})
    if _forked(record):
        with tempfile.TemporaryDirectory(prefix="warren-rerun-", ignore_cleanup_errors=True) as scratch:
            fork(view.store, old, 0, new, task.body, Path(scratch) / "spool")
    else:
        store_job(view.store, new, task)
    return new.job


def _forked(record: Record) -> bool:
    try:
        return bool(record.manifest(0).forked_from)
    except ObjectMissing:
        return False


def differing(recorded: Mapping[str, tuple[str, ...]], now: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The versions that are not those that the job was made with: what it was, what it is now."""
    return {
        name: (", ".join(recorded[name]), value)
        for name, value in now.items()
        if name in recorded and recorded[name] != (value,)
    }


def here() -> dict[str, str]:
    """This machine's versions and processor, as its trainers will name them."""
    import torch

    return {"warren": __version__, "torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}


def _there(view: View, job: str) -> dict[str, str]:
    """What the trainers say of themselves: Warren's version, where all have the same."""
    trainers = StatusReader(view.store, job, view.ledger).read().trainers
    found = {one.fields.get("version", "") for one in trainers} - {""}
    return {"warren": found.pop()} if len(found) == 1 else {}


def _announce(view: View, old: str, new: str, now: Mapping[str, str], *, as_json: bool) -> None:
    manifests = [result.manifest for result in StatusReader(view.store, old).read().results]
    other = differing(facts_of(manifests), now)
    if as_json:
        click.echo(json.dumps({"event": "rerun", "job": new, "of": old, "differs": other}))
        return
    click.echo(new)
    for name, (was, value) in other.items():
        click.echo(f"{name} is {value}; {old} was made with {was}: the bytes may differ.", err=True)


def _compared(view: View, new: str, old: str, *, as_json: bool) -> int:
    counts = Counter[str](found.state for found in compare(view.store, old, new))
    if as_json:
        click.echo(json.dumps({"event": "compared", "job": new, "of": old, **counts}))
    else:
        click.echo(sentence(counts, new, old))
    return FAILED if counts["differs"] else DONE
