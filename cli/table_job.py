"""What a job of the task `table` must say of its columns, made from a table that lies here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..storage.counting import SCORED_CLASSES_MAX
from ..storage.errors import SpecInvalid
from .errors import UsageMistake
from .jobfile import Draft
from .table_file import Table, describe

CLASS_METRICS = ["accuracy", "f1", "auroc"]
NUMBER_METRICS = ["mae", "rmse", "r2"]


def declare_columns(draft: Draft, data_dir: Path | None) -> None:
    """Write `[data] columns` and `target`, and what follows from them, into the draft, as the table has them.

    The means and deviations are those of this table: they go with the job to everybody who reads it.

    Raises:
        SpecInvalid: no file is named, or it can't be read; the words say what to do.
    """
    data: dict[str, Any] = draft.fields.setdefault("data", {})
    if not data.get("file"):
        raise draft.mistake(("data",), "which table? --set data.file=patients.csv, or file under [data].")
    path = Path(data_dir or "", str(data["file"]))
    if not path.is_file():
        raise draft.mistake(
            ("data", "file"),
            f"no table {path} here to make the columns from. Name its folder with --data-dir, or write what the "
            "columns are under [data.columns].",
        )
    try:
        table = describe(path, data.get("target"), data.get("by"))
    except UsageMistake as error:
        raise SpecInvalid(str(error)) from None
    for note in table.notes:
        click.echo(note, err=True)
    data["target"] = table.target
    data["columns"] = _columns(table)
    if table.by and not draft.fields.get("sites"):
        draft.fields.setdefault("clients", table.clients)
    draft.fields.setdefault("evaluate", {}).setdefault("metrics", _metrics(table))


def _columns(table: Table) -> dict[str, Any]:
    numbers = {name: _scaled(*scale) for name, scale in table.numbers.items()}
    target: Any = table.classes or _scaled(*table.target_scale)
    return {**numbers, **table.words, table.target: target}


def _scaled(mean: float, deviation: float) -> dict[str, float]:
    return {"mean": mean, "deviation": deviation}


def _metrics(table: Table) -> list[str]:
    if not table.classes:
        return NUMBER_METRICS
    return CLASS_METRICS if len(table.classes) <= SCORED_CLASSES_MAX else CLASS_METRICS[:-1]
