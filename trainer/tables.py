"""Tables from CSV and Parquet files, read by pyarrow with bounds, as numbers that a model takes. No torch.

What is wrong is told with file, column and row, as a spreadsheet counts rows: the header of a CSV is row 1; the
first row of a Parquet file too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .schema import COLUMNS_MAX, Column, Number, Schema, Words
from .table_files import NOTHING, OTHER, FileColumn, TableMistake, read_columns

CELLS_MAX = 250_000_000  # inputs x rows of one table, float32: 1 GB
MISSING = ("NA", "NaN", "nan", "null")  # beside nothing at all

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

__all__ = ["COLUMNS_MAX", "MISSING", "Reading", "Table", "TableMistake", "read_table"]


@dataclass(frozen=True, slots=True)
class Reading:
    """How a table is read, beside its schema.

    Attributes:
        missing: an empty cell of an input: "mean" (a scaled number's mean; of words, none of them), "drop" the row,
            or "refuse" the table. Rows without a target are always left out.
        unknown: a word that the schema does not have: "refuse" the table, or take it for "none" of them.
        words: that mean a missing value, beside an empty cell; where a column declares one, it is a word there.
        by: a further column, whose values tell clients apart; "" for none.
    """

    missing: Literal["mean", "drop", "refuse"] = "mean"
    unknown: Literal["refuse", "none"] = "refuse"
    words: tuple[str, ...] = MISSING
    by: str = ""

    def __post_init__(self) -> None:
        if self.missing not in ("mean", "drop", "refuse"):
            raise TableMistake(f'missing = {self.missing!r} is none of "mean", "drop", "refuse"')
        if self.unknown not in ("refuse", "none"):
            raise TableMistake(f'unknown = {self.unknown!r} is neither "refuse" nor "none"')


@dataclass(frozen=True, slots=True)
class Table:
    """The rows that can be learned from.

    Attributes:
        inputs: (n, width) float32; client-scaled columns still as they are in the file.
        target: (n,) int64 classes, or (n, 1) float32.
        groups: (n,) the place of the column `by`'s value among its values, sorted; 0 without such a column.
        own: of the inputs, where the client-scaled columns stand.
    """

    inputs: Floats
    target: NDArray[Any]
    groups: Rows
    own: tuple[int, ...]

    def scaled(self, rows: Rows, by: Rows) -> tuple[Floats, NDArray[Any]]:
        """(inputs, targets) of some rows, the client-scaled columns by mean and deviation of the rows `by`.

        A missing number is the mean, 0. A column that is the same in all rows is 0 in those.
        """
        inputs = self.inputs[rows]
        for place in self.own:
            seen = self.inputs[by, place].astype(np.float64)
            known = seen[~np.isnan(seen)]
            mean, deviation = (known.mean(), known.std()) if len(known) else (0.0, 0.0)
            inputs[:, place] = np.nan_to_num((inputs[:, place] - mean) / (deviation or 1.0))
        return inputs, self.target[rows]


def read_table(path: Path, schema: Schema, reading: Reading) -> Table:
    """Read the schema's columns of a file, `.parquet` or else CSV.

    Raises:
        TableMistake: names file, column and row.
        FileNotFoundError: no such file; the words say where it is looked for.
    """
    names = (*schema.names, reading.by) if reading.by else schema.names
    columns = read_columns(path, tuple(dict.fromkeys(names)))
    rows = len(next(iter(columns.values())))
    if rows * schema.width > CELLS_MAX:
        raise TableMistake(f"{path.name}: {rows} rows of {schema.width} inputs; at most {CELLS_MAX} cells")
    cells = {name: _Cells(path.name, name, column, reading.words) for name, column in columns.items()}
    target, known = _target(schema.target, cells[schema.target.name])
    inputs = np.empty((rows, schema.width), np.float32)
    whole = known.copy()
    start = 0
    for column in schema.inputs:
        part, there = _input(column, cells[column.name], reading, known)
        inputs[:, start : start + column.width] = part
        start += column.width
        whole &= there if reading.missing == "drop" else True
    if not whole.any():
        raise TableMistake(f"{path.name}: no row has a {schema.target.name}" + _and_inputs(reading))
    groups = columns[reading.by].ranks() if reading.by else np.zeros(rows, np.int64)
    return Table(inputs[whole], target[whole], groups[whole], _places(schema))


def _and_inputs(reading: Reading) -> str:
    return " and all the inputs" if reading.missing == "drop" else ""


def _places(schema: Schema) -> tuple[int, ...]:
    starts = np.cumsum([0, *(column.width for column in schema.inputs)])
    found = zip(schema.inputs, starts, strict=False)
    return tuple(int(start) for column, start in found if isinstance(column, Number) and column.scale == "client")


class _Cells:
    """One column of a file, and how to speak of its cells."""

    def __init__(self, file: str, name: str, column: FileColumn, missing: Sequence[str]) -> None:
        self._file = file
        self._name = name
        self._column = column
        self._missing = missing
        self._first = 1 if file.endswith(".parquet") else 2

    def mistake(self, row: int, what: str) -> TableMistake:
        return TableMistake(f"{self._file} row {row + self._first}, column {self._name}: {what}")

    def numbers(self) -> NDArray[np.float64]:
        """(n,) NaN where a number is missing."""
        values = self._column.numbers(self._missing)
        if isinstance(values, int):
            raise self.mistake(values, f"{self._column.text(values)[:40]!r} is no number")
        if np.isinf(values).any():
            raise self.mistake(int(np.isinf(values).argmax()), "infinite")
        return values

    def places(self, column: Words, *, refuse: NDArray[np.bool_] | np.bool_ | None) -> Rows:
        """(n,) which of the column's words each is; raises where one of the rows to `refuse` holds another."""
        places = self._column.places(column.words, self._missing)
        bad = (places == OTHER) & refuse if refuse is not None else np.zeros(len(places), np.bool_)
        if bad.any():
            row = int(bad.argmax())
            said = ", ".join(column.words[:8]) + (", …" if len(column.words) > 8 else "")
            raise self.mistake(row, f"{self._column.text(row)[:40]!r} is none of {said}")
        return places


def _target(column: Column, cells: _Cells) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """(targets, which rows have one)."""
    if isinstance(column, Number):
        values = cells.numbers()
        scaled = ((values - column.mean) / column.deviation).astype(np.float32)
        return np.nan_to_num(scaled)[:, None], ~np.isnan(values)
    places = cells.places(column, refuse=np.True_)
    return places, places >= 0


def _input(
    column: Column, cells: _Cells, reading: Reading, needed: NDArray[np.bool_]
) -> tuple[Floats, NDArray[np.bool_]]:
    """(n, width) of an input, and which rows have it; `needed` are the rows that have a target."""
    if isinstance(column, Number):
        values = cells.numbers()
        there = ~np.isnan(values)
        _check_missing(column, cells, reading, ~there & needed)
        scaled = (values - column.mean) / column.deviation if column.scale == "declared" else values
        filled = scaled if column.scale == "client" else np.nan_to_num(scaled)
        return filled.astype(np.float32)[:, None], there
    places = cells.places(column, refuse=needed if reading.unknown == "refuse" else None)
    there = places != NOTHING
    _check_missing(column, cells, reading, ~there & needed)
    return (places[:, None] == np.arange(column.width)).astype(np.float32), there


def _check_missing(column: Column, cells: _Cells, reading: Reading, gone: NDArray[np.bool_]) -> None:
    if reading.missing == "drop" or not gone.any():
        return
    row = int(gone.argmax())
    if reading.missing == "refuse":
        raise cells.mistake(row, "is missing. Let missing be the mean, or drop such rows: [data] missing")
    if isinstance(column, Number) and column.scale == "none":
        raise cells.mistake(row, 'is missing, and the column has no mean: declare one, or [data] missing = "drop"')
