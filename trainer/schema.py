"""What the columns of a table are: the same at every client, so that their models fit together. No I/O, no torch.

A job says it under `[data.columns]`, a line a column, and `target` names the one to be predicted:

    age = { mean = 54.2, deviation = 12.1 }   a number, scaled by statistics that the job declares
    dose = { scale = "client" }               a number, scaled by each client's own training rows
    rooms = "number"                          a number as it stands
    sex = ["f", "m"]                          one of these words; each is an input of 0 or 1
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COLUMNS_MAX = 2_000
WORDS_MAX = 1_000  # of one column
INPUTS_MAX = 20_000


class SchemaMistake(ValueError):
    """The job says something of a table that can't be; the words name the column."""


@dataclass(frozen=True, slots=True)
class Number:
    """A column of numbers.

    Attributes:
        scale: "none", "declared" or "client": whose mean and deviation make it 0 on average, with deviation 1.
    """

    name: str
    scale: str
    mean: float = 0.0
    deviation: float = 1.0

    @property
    def width(self) -> int:
        return 1


@dataclass(frozen=True, slots=True)
class Words:
    """A column that holds one of these words."""

    name: str
    words: tuple[str, ...]

    @property
    def width(self) -> int:
        return len(self.words)


Column = Number | Words


@dataclass(frozen=True, slots=True)
class Schema:
    """The inputs in the job's order, and the target."""

    inputs: tuple[Column, ...]
    target: Column

    @property
    def width(self) -> int:
        """How many numbers the model takes in."""
        return sum(column.width for column in self.inputs)

    @property
    def outputs(self) -> int:
        """How many it gives: one for each class, or the number itself."""
        return self.target.width

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that a file must have."""
        return (*(column.name for column in self.inputs), self.target.name)


def read_schema(columns: Mapping[str, Any], target: str) -> Schema:
    """The schema that a job's `[data]` declares.

    Raises:
        SchemaMistake: names the column, what was said of it, and what can be.
    """
    if not isinstance(columns, Mapping) or not 2 <= len(columns) <= COLUMNS_MAX:
        raise SchemaMistake(f"[data.columns] must name 2 to {COLUMNS_MAX} columns, the target among them")
    if target not in columns:
        raise SchemaMistake(f"target {target!r} is none of the columns {', '.join(list(columns)[:12])}")
    read = {name: _column(name, said) for name, said in columns.items()}
    wanted = read.pop(target)
    if isinstance(wanted, Number) and wanted.scale == "client":
        raise SchemaMistake(f"target {target}: clients that scale it each by their own would not predict one thing")
    schema = Schema(tuple(read.values()), wanted)
    if schema.width > INPUTS_MAX:
        raise SchemaMistake(f"{schema.width} inputs, a word each; at most {INPUTS_MAX}")
    return schema


def _column(name: str, said: Any) -> Column:
    if said == "number":
        return Number(name, "none")
    if isinstance(said, Mapping) and dict(said) == {"scale": "client"}:
        return Number(name, "client")
    if isinstance(said, Mapping) and said.keys() == {"mean", "deviation"}:
        return _declared(name, said)
    if isinstance(said, Sequence) and not isinstance(said, str):
        return _words(name, said)
    raise SchemaMistake(
        f'column {name}: {str(said)[:80]!r} is none of "number", {{ mean = …, deviation = … }}, '
        '{ scale = "client" }, or a list of words'
    )


def _declared(name: str, said: Mapping[str, Any]) -> Number:
    try:
        mean, deviation = float(said["mean"]), float(said["deviation"])
    except (TypeError, ValueError):
        raise SchemaMistake(f"column {name}: mean and deviation must be numbers") from None
    if not math.isfinite(mean) or not 0 < deviation < math.inf:
        raise SchemaMistake(f"column {name}: mean {mean} must be finite, and deviation {deviation} above 0")
    return Number(name, "declared", mean, deviation)


def _words(name: str, said: Sequence[Any]) -> Words:
    words = tuple(word_of(value) for value in said)
    if not 2 <= len(words) <= WORDS_MAX or len(set(words)) != len(words) or "" in words:
        raise SchemaMistake(f"column {name}: give 2 to {WORDS_MAX} different words")
    return Words(name, words)


def word_of(value: Any) -> str:
    """A value as the word that a file holds for it: `true`, `1`, `1.5`, `stage II`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
