"""Columns of a CSV or Parquet file, by pyarrow: the one place that knows it. Bounded in rows, columns and bytes."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS_MAX = 10_000_000
FILE_BYTES_MAX = 4 << 30  # of a CSV; of a Parquet file's columns that are read, unpacked
BLOCK_BYTES = 4 << 20  # a row of a CSV must fit into it
HEADER_BYTES_MAX = 1 << 20
OTHER, NOTHING = -1, -2  # what a cell is that is none of the words

Places = NDArray[np.int64]


class TableMistake(ValueError):
    """A table can't be read as the job says; the words name file, column and row."""


class FileColumn:
    """One column as pyarrow holds it."""

    def __init__(self, values: Any) -> None:
        self._values = values.dictionary_decode() if hasattr(values, "dictionary_decode") else values

    def __len__(self) -> int:
        return len(self._values)

    def text(self, row: int) -> str:
        """One cell, as a person would write it."""
        value = self._values[row].as_py()
        return "" if value is None else str(value).strip()

    def texts(self) -> list[str]:
        """Every cell, trimmed; "" for nothing."""
        return self._trimmed().to_pylist()  # type: ignore[no-any-return]

    def places(self, words: Sequence[str], missing: Sequence[str]) -> Places:
        """(n,) which of these words each cell is: NOTHING where it is empty or a word for that, OTHER for others."""
        import pyarrow as pa
        import pyarrow.compute as pc

        cells = self._trimmed()
        gone = [word for word in ("", *missing) if word not in words]
        found = pc.fill_null(pc.index_in(cells, value_set=pa.array(words, pa.string())), OTHER)
        found = pc.if_else(pc.is_in(cells, value_set=pa.array(gone, pa.string())), NOTHING, found)
        return np.asarray(found.to_numpy(zero_copy_only=False), np.int64)

    def ranks(self) -> Places:
        """(n,) the place of each cell's word among all of the column's, sorted; equal words have one."""
        import pyarrow.compute as pc

        coded = pc.dictionary_encode(self._trimmed())
        words = coded.dictionary.to_pylist()
        rank = np.empty(len(words), np.int64)
        rank[sorted(range(len(words)), key=words.__getitem__)] = np.arange(len(words))
        return rank[coded.indices.to_numpy(zero_copy_only=False)]  # type: ignore[no-any-return]

    def numbers(self, missing: Sequence[str]) -> NDArray[np.float64] | int:
        """(n,) NaN where there is nothing or a word for it; the first row that holds no number, where one does."""
        import pyarrow as pa
        import pyarrow.compute as pc

        values = self._values
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            gone = pc.is_in(self._trimmed(), value_set=pa.array(["", *missing], pa.string()))
            values = pc.if_else(gone, pa.scalar(None, pa.string()), self._trimmed())
        elif pa.types.is_boolean(values.type):
            values = values.cast(pa.uint8())
        try:
            found = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return _first_without_a_number(values)
        return np.asarray(found, np.float64)

    def _trimmed(self) -> Any:
        """Each cell as a word, "" for nothing."""
        import pyarrow as pa
        import pyarrow.compute as pc

        return pc.fill_null(pc.utf8_trim_whitespace(self._values.cast(pa.string())), "")


def read_columns(path: Path, names: Sequence[str]) -> dict[str, FileColumn]:
    """These columns of a file, `.parquet` or else CSV (UTF-8; commas, semicolons, tabs or bars).

    Raises:
        TableMistake: pyarrow is missing, no such column, too large, or not such a file.
        FileNotFoundError: no such file.
    """
    pa = _pyarrow(path)
    try:
        table = _read_parquet(path, names) if path.suffix == ".parquet" else _read_csv(path, names)
    except (pa.ArrowException, OSError) as error:
        raise TableMistake(f"{path.name}: {str(error).splitlines()[0][:300]}") from None
    if table.num_rows == 0:
        raise TableMistake(f"{path.name} has no rows")
    return {name: FileColumn(table.column(name).combine_chunks()) for name in names}


def first_words(path: Path, rows: int) -> dict[str, list[str]]:
    """The first rows of a Parquet file, each cell as a word. Raises as `read_columns`."""
    pa = _pyarrow(path)
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        kinds = {name: file.schema_arrow.field(name).type for name in file.schema_arrow.names}
        for name, kind in kinds.items():
            _check_type(path, name, kind)
        first = next(file.iter_batches(batch_size=rows), None)
    except (pa.ArrowException, OSError) as error:
        raise TableMistake(f"{path.name}: {str(error).splitlines()[0][:300]}") from None
    return {name: [] if first is None else FileColumn(first.column(name)).texts() for name in kinds}


def _pyarrow(path: Path) -> Any:
    """The library, once the file is there."""
    try:
        import pyarrow as pa
    except ImportError:
        raise TableMistake("tables need pyarrow: pip install 'warren[tables]' in the trainer's environment") from None
    if not path.is_file():
        raise FileNotFoundError(f"no table {path}: name its folder with --data-dir, or its file under [data] file")
    return pa


def delimiter_of(line: str) -> str:
    """What parts the cells of a CSV's first line."""
    return max(",;\t|", key=line.count)


def _read_parquet(path: Path, names: Sequence[str]) -> Any:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    _check_names(path, names, file.schema_arrow.names)
    _check_rows(path, file.metadata.num_rows)
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    size = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in set(names))
    if size > FILE_BYTES_MAX:
        raise TableMistake(f"{path.name}: {size >> 20} MiB of columns; at most {FILE_BYTES_MAX >> 20}")
    for name in names:
        _check_type(path, name, file.schema_arrow.field(name).type)
    return file.read(columns=list(names))


def _check_type(path: Path, name: str, kind: Any) -> None:
    import pyarrow as pa

    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    checks = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    if not any(check(inner) for check in (*checks, pa.types.is_string, pa.types.is_large_string, pa.types.is_null)):
        raise TableMistake(f"{path.name} column {name}: {kind} is neither numbers nor words")


def _read_csv(path: Path, names: Sequence[str]) -> Any:
    import pyarrow as pa
    from pyarrow import csv as arrow

    if path.stat().st_size > FILE_BYTES_MAX:
        raise TableMistake(f"{path.name}: {path.stat().st_size >> 20} MiB; at most {FILE_BYTES_MAX >> 20}")
    delimiter, header = _header(path)
    _check_names(path, names, header)
    torn: list[Any] = []

    def remember(row: Any) -> str:
        torn.append(row)
        return "error"

    try:
        reader = arrow.open_csv(
            path,
            arrow.ReadOptions(use_threads=False, block_size=BLOCK_BYTES, column_names=header, skip_rows=1),
            arrow.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=remember),
            arrow.ConvertOptions(
                include_columns=list(names),
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=False,
            ),
        )
        rows, batches = 0, []
        for batch in reader:
            rows += batch.num_rows
            _check_rows(path, rows)
            batches.append(batch)
    except pa.ArrowInvalid:
        if not torn:
            raise
        row = torn[0]
        raise TableMistake(
            f"{path.name} row {row.number}: {row.actual_columns} cells, and the header has {row.expected_columns}"
        ) from None
    return pa.Table.from_batches(batches, reader.schema)


def _header(path: Path) -> tuple[str, list[str]]:
    """(the delimiter, the columns' names) from the first line."""
    try:
        with path.open("rb") as file:
            line = file.readline(HEADER_BYTES_MAX).decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise TableMistake(f"{path.name} is not UTF-8 text. Save the table as CSV (UTF-8)") from None
    delimiter = delimiter_of(line)
    return delimiter, [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]


def _check_names(path: Path, names: Sequence[str], header: Sequence[str]) -> None:
    missing = [name for name in names if name not in header]
    twice = [name for name in names if header.count(name) > 1]
    if missing:
        has = ", ".join(header[:12]) + (", …" if len(header) > 12 else "")
        raise TableMistake(f"{path.name} has no column {', '.join(missing[:8])}; it has {has}")
    if twice:
        raise TableMistake(f"{path.name} has the column {twice[0]} twice")


def _check_rows(path: Path, rows: int) -> None:
    if rows > ROWS_MAX:
        raise TableMistake(f"{path.name}: over {ROWS_MAX} rows")


def _first_without_a_number(values: Any) -> int:
    for row, value in enumerate(values.to_pylist()):
        try:
            float("nan" if value is None else value)
        except (TypeError, ValueError):
            return row
    return 0
