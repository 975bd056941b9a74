"""Looks a table (CSV, Parquet) over: which columns are numbers, which are words, what is to be predicted."""

from __future__ import annotations

import csv
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..trainer.table_files import TableMistake, delimiter_of, first_words
from .errors import UsageMistake
from .lazy import nearest

ROWS_READ_MAX = 200_000  # of a longer table, so many decide what its columns are
COLUMNS_MAX = 2000
CELL_CHARACTERS_MAX = 10_000
WORDS_MAX = 50  # different words of a column that is an input; more are names or ids
CLASSES_MAX = 100
NUMBER_CLASSES_MAX = 20  # a target of whole numbers with no more values is a class
ROWS_MIN = 20
CLIENT_ROWS_MIN = 5  # of a client by a column: a fifth is held out


@dataclass(frozen=True, slots=True)
class Table:
    """What a task must know of a table, so that each client reads its own alike.

    Attributes:
        classes: of the target, in order; empty where it is a number.
        target_scale: (mean, deviation) of a target that is a number.
        numbers: column -> (mean, deviation).
        words: column -> the words that it may hold.
        by: the column whose values are the clients; empty: rows are dealt out.
        clients: how many.
        notes: what a person should know: columns that are left out.
    """

    file: Path
    delimiter: str
    rows: int
    target: str
    classes: list[str]
    target_scale: tuple[float, float]
    numbers: dict[str, tuple[float, float]]
    words: dict[str, list[str]]
    by: str = ""
    clients: int = 10
    notes: list[str] = field(default_factory=list)


def describe(path: Path, target: str | None, by: str | None) -> Table:
    """Read the table and settle what each column is.

    Raises:
        UsageMistake: no such file or column, no header, too few rows; the words say what was seen.
    """
    delimiter, header, rows = _read(path)
    target = _column(target, header, "--target", path) if target else header[-1]
    by = _column(by, header, "--by", path) if by else ""
    if by == target:
        raise UsageMistake(f"--by {by}: that is what is to be predicted. Take another column, or another --target.")
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    classes, scale = _target(target, columns[target])
    inputs = {name: cells for name, cells in columns.items() if name not in (target, by)}
    numbers, words, notes = _inputs(inputs)
    if not numbers and not words:
        raise UsageMistake(f"{path}: no column is left to predict {target} from. " + " ".join(notes))
    if any(not cell.strip() for cell in columns[target]):
        notes.append(f"rows without a {target} are left out")
    clients = _clients(by, columns[by], notes) if by else 10
    return Table(path, delimiter, len(rows), target, classes, scale, numbers, words, by, clients, notes)


def _read_parquet(path: Path) -> tuple[str, list[str], list[list[str]]]:
    try:
        columns = first_words(path, ROWS_READ_MAX)
    except (TableMistake, FileNotFoundError) as error:
        raise UsageMistake(f"{error}.") from None
    _check_header(path, list(columns))
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    _check_number(path, rows)
    return "", list(columns), rows


def _check_number(path: Path, rows: Sequence[object]) -> None:
    if len(rows) < ROWS_MIN:
        raise UsageMistake(f"{path}: {len(rows)} rows below the header are too few to train on: at least {ROWS_MIN}.")


def _read(path: Path) -> tuple[str, list[str], list[list[str]]]:
    if path.suffix == ".parquet":
        return _read_parquet(path)
    csv.field_size_limit(CELL_CHARACTERS_MAX)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            delimiter = delimiter_of(file.readline())
            file.seek(0)
            lines = csv.reader(file, delimiter=delimiter)
            header = [name.strip() for name in next(lines, [])]
            _check_header(path, header)
            rows = [row for _, row in zip(range(ROWS_READ_MAX), lines, strict=False) if row]
    except OSError as error:
        raise UsageMistake(f"can't read {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UsageMistake(f"{path} is not UTF-8 text. Save the table as CSV (UTF-8).") from None
    except csv.Error as error:
        raise UsageMistake(f"{path}: {error}: not a table of commas, semicolons or tabs.") from None
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise UsageMistake(f"{path} line {number}: {len(row)} cells, and the header has {len(header)}.")
    _check_number(path, rows)
    return delimiter, header, rows


def _check_header(path: Path, header: Sequence[str]) -> None:
    twice = [name for name, count in Counter(header).items() if count > 1]
    if len(header) < 2 or len(header) > COLUMNS_MAX:
        raise UsageMistake(f"{path}: {len(header)} columns: at least 2 are needed, and at most {COLUMNS_MAX}.")
    if twice or "" in header:
        raise UsageMistake(
            f"{path}: the header has {twice[0]!r} twice."
            if twice and twice[0]
            else f"{path}: a column has no name in the header."
        )
    if all(_number(name) is not None for name in header):
        raise UsageMistake(f"{path} has no header: its first line is all numbers. Write the columns' names there.")


def _column(name: str, header: Sequence[str], option: str, path: Path) -> str:
    if name not in header:
        raise UsageMistake(
            f"{option} {name}: {path} has no such column{nearest(name, header)} "
            f"It has {', '.join(header[:12])}{', …' if len(header) > 12 else ''}."
        )
    return name


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _target(name: str, cells: Sequence[str]) -> tuple[list[str], tuple[float, float]]:
    """(its classes, (mean, deviation)); one of them is empty or (0, 1)."""
    known = [cell.strip() for cell in cells if cell.strip()]
    values = [_number(cell) for cell in known]
    different = sorted(set(known))
    if len(different) < 2:
        raise UsageMistake(f"--target {name}: the column holds {len(different)} different values; nothing to predict.")
    numbers = [value for value in values if value is not None]
    if len(numbers) == len(known) and not (
        len(different) <= NUMBER_CLASSES_MAX and all(value.is_integer() for value in numbers)
    ):
        return [], _scale(numbers)
    if len(different) > CLASSES_MAX:
        raise UsageMistake(f"--target {name}: {len(different)} different words; at most {CLASSES_MAX} can be classes.")
    return sorted(different, key=lambda word: (_number(word) is None, _number(word) or 0.0, word)), (0.0, 1.0)


def _inputs(
    columns: Mapping[str, Sequence[str]],
) -> tuple[dict[str, tuple[float, float]], dict[str, list[str]], list[str]]:
    numbers: dict[str, tuple[float, float]] = {}
    words: dict[str, list[str]] = {}
    notes: list[str] = []
    for name, cells in columns.items():
        known = [cell.strip() for cell in cells if cell.strip()]
        values = [value for value in map(_number, known) if value is not None]
        different = sorted(set(known))
        if len(different) < 2:
            notes.append(f"{name} is left out: the same in every row")
        elif len(values) == len(known):
            numbers[name] = _scale(values)
        elif len(different) > WORDS_MAX:
            notes.append(f"{name} is left out: {len(different)} different words, more than {WORDS_MAX}")
        else:
            words[name] = different
    return numbers, words, notes


def _clients(by: str, cells: Sequence[str], notes: list[str]) -> int:
    counts = Counter(cell.strip() for cell in cells)
    fewest, rows = min(counts.items(), key=lambda item: item[1])
    if len(counts) < 2 or rows < CLIENT_ROWS_MIN:
        seen = f"{fewest!r} has {rows} rows" if len(counts) > 1 else f"each row has {fewest!r}"
        raise UsageMistake(f"--by {by}: {seen}: at least 2 clients are needed, with {CLIENT_ROWS_MIN} rows each.")
    notes.append(f"{len(counts)} clients, one for each {by}")
    return len(counts)


def _scale(values: Sequence[float]) -> tuple[float, float]:
    return float(f"{statistics.fmean(values):.6g}"), float(f"{statistics.pstdev(values) or 1.0:.6g}")
