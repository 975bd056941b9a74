"""A job's models in the store: which there are, and one of them as a file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from uuid import uuid4

import click

from ..storage import keys
from ..storage.errors import ObjectMissing, StorageUnavailable
from ..storage.objects import OBJECT_BYTES_MAX, ObjectInfo
from .connect import View
from .errors import CliError, UsageMistake
from .status import JobStatus, StatusReader
from .tables import print_table, size_text

_ROUND = re.compile(r"round-(\d{5})\.safetensors\Z")
_NAMED = ("final", "best")


def print_checkpoints(view: View, job: str, *, as_json: bool) -> None:
    """A line a checkpoint, with what its evaluation said."""
    status = StatusReader(view.store, job).read()
    rows = [_row(view, status, info) for info in _checkpoints(view, job)]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
        return
    if not rows:
        click.echo(f"{job} has no checkpoint yet", err=True)
        return
    header = ["round", "accuracy", "loss", "size", "where"]
    print_table(header, [[_cell(row[name], name) for name in header] for row in rows])


def _checkpoints(view: View, job: str) -> list[ObjectInfo]:
    found = [info for info in view.store.list(keys.checkpoints(job)) if _ROUND.search(info.key)]
    named = (view.store.stat(keys.derived(job, f"{name}.safetensors")) for name in _NAMED)
    return found + [info for info in named if info is not None]


def _row(view: View, status: JobStatus, info: ObjectInfo) -> dict[str, object]:
    number = _ROUND.search(info.key)
    result = next((one for one in status.results if number and one.number == int(number[1])), None)
    path = view.store.local_path(info.key)
    return {
        "round": int(number[1]) if number else Path(info.key).stem,
        "accuracy": result and result.metric("accuracy"),
        "loss": result and result.metric("loss"),
        "size": info.size,
        "where": str(path) if path is not None else f"{view.place}/{info.key}",
    }


def _cell(value: object, name: str) -> str:
    if name == "size":
        return size_text(float(str(value)))
    return f"{value:.4g}" if isinstance(value, float) else str("" if value is None else value)


def fetch_checkpoint(view: View, job: str, which: str, output: Path | None) -> Path:
    """Write a model to a file, whole or not at all.

    Args:
        which: final, best, last (the newest round's), or a round's number.
        output: a file, or a folder; None for a file named after job and model, here.

    Raises:
        UsageMistake, CliError: no such model; StorageUnavailable: it can't be written.
    """
    key, name = _key(view, job, which)
    path = output if output is not None and not output.is_dir() else (output or Path()) / f"{job}-{name}.safetensors"
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        view.store.fetch(key, temporary, limit=OBJECT_BYTES_MAX)
        temporary.replace(path)
    except ObjectMissing:
        raise CliError(f"{job} has no {name} model yet. `warren checkpoint list {job}` names those it has.") from None
    except OSError as error:
        raise StorageUnavailable(f"can't write {path}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _key(view: View, job: str, which: str) -> tuple[str, str]:
    if which in _NAMED:
        return keys.derived(job, f"{which}.safetensors"), which
    if which == "last":
        rounds = [info.key for info in view.store.list(keys.checkpoints(job)) if _ROUND.search(info.key)]
        if not rounds:
            raise CliError(f"{job} has no checkpoint yet.")
        return rounds[-1], Path(rounds[-1]).stem
    if which.isascii() and which.isdigit() and len(which) <= 5:
        return keys.checkpoint(job, int(which)), f"round-{int(which):05}"
    raise UsageMistake(f"{which!r} is none of final, best, last, or a round's number.")
