"""Two models tensor by tensor: which are alike, how far the others are apart. Imports torch."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import click
import torch

from ..storage.digests import digest_file
from ..storage.errors import ObjectDamaged, ObjectMissing
from ..storage.torch_tensors import map_file
from .checkpoints import fetch_checkpoint
from .connect import View
from .errors import DONE, FAILED, UsageMistake
from .jobs import find_job
from .tables import print_table

Row = dict[str, object]


def print_model_diff(view: View | None, one: str, other: str, *, as_json: bool) -> int:
    """Print how two models differ. Returns 1 where they do, as diff does.

    Args:
        view: where jobs are; None where both are files.
        one, other: a .safetensors file, a job, or JOB:WHICH.
    """
    with tempfile.TemporaryDirectory(prefix="warren-", ignore_cleanup_errors=True) as folder:
        files = [_file(view, text, Path(folder) / f"{place}.safetensors") for place, text in enumerate((one, other))]
        rows = _rows(*(_tensors(file, text) for file, text in zip(files, (one, other), strict=True)))
        same_bytes = digest_file(files[0]) == digest_file(files[1])
    differing = [row for row in rows if row["state"] != "the same"]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
    elif differing:
        header = ["tensor", "shape", "state", "largest", "relative"]
        print_table(header, [[_cell(row[name]) for name in header] for row in differing])
    if not as_json:
        alike = len(rows) - len(differing)
        click.echo(
            f"{alike} of {len(rows)} tensors are the same; the files' bytes {'are' if same_bytes else 'differ'}"
            + (" the same" if same_bytes else "")
        )
    return FAILED if differing else DONE


def _file(view: View | None, text: str, path: Path) -> Path:
    if text.endswith(".safetensors"):
        return Path(text)
    assert view is not None
    job, _, which = text.partition(":")
    return fetch_checkpoint(view, find_job(view, job), which or "final", path)


def _tensors(file: Path, text: str) -> dict[str, torch.Tensor]:
    try:
        return map_file(file)
    except (OSError, ObjectMissing) as error:
        raise UsageMistake(f"can't read {text}: {getattr(error, 'strerror', None) or error}.") from None
    except ObjectDamaged as error:
        raise UsageMistake(f"{text} is no model: {error}.") from None


def _rows(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[Row]:
    return [_row(name, one.get(name), other.get(name)) for name in sorted({*one, *other})]


def _row(name: str, mine: torch.Tensor | None, theirs: torch.Tensor | None) -> Row:
    shape = "x".join(map(str, (mine if mine is not None else theirs).shape)) or "1"  # type: ignore[union-attr]
    row: Row = {"tensor": name, "shape": shape, "state": "the same", "largest": None, "relative": None}
    if mine is None or theirs is None:
        return {**row, "state": "only in the second" if mine is None else "only in the first"}
    if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
        return {**row, "state": f"another form: {tuple(theirs.shape)} {str(theirs.dtype).removeprefix('torch.')}"}
    if torch.equal(mine, theirs):
        return row
    apart = (mine.double() - theirs.double()).abs()
    scale = float(mine.double().norm())
    relative = float(apart.norm()) / scale if scale else float("inf")
    return {**row, "state": "differs", "largest": float(apart.max()), "relative": relative}


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
