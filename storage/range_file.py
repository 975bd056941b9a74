"""A canonical safetensors file that is written piece by piece, in any order: for models that no memory holds whole."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from types import TracebackType

from .digests import digest_file
from .errors import StorageUnavailable
from .files import replacing
from .tensors import DTYPES, Form, Written, canonical, header_bytes


class RangeFile:
    """As a context: the file takes its name when the block ends well; then `written` says what it is.

    Equal contents give the bytes of `write_file`. What is not written is zero.
    """

    def __init__(self, path: Path, tensors: Iterable[Form], metadata: Mapping[str, str]) -> None:
        """Nothing is written yet. `tensors`: each name once."""
        ordered = canonical(tensors)
        self._header = header_bytes(ordered, metadata)
        self._places: dict[str, tuple[int, int]] = {}  # name -> first byte, bytes of an item
        self._size = len(self._header)
        for name, dtype, shape in ordered:
            self._places[name] = self._size, DTYPES[dtype]
            self._size += prod(shape) * DTYPES[dtype]
        self._path = path
        self._replacing = replacing(path)

    def __enter__(self) -> RangeFile:
        self._file = self._replacing.__enter__()
        self._file.write(self._header)
        self._file.truncate(self._size)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._replacing.__exit__(kind, error, trace)

    def write(self, name: str, first: int, data: memoryview) -> None:
        """Write bytes of items from the `first` one on. Raises StorageUnavailable: the disk is full or refuses."""
        start, item_bytes = self._places[name]
        at, left = start + first * item_bytes, data.cast("B") if data else data
        while left:
            try:
                count = os.pwrite(self._file.fileno(), left, at)
            except OSError as error:
                raise StorageUnavailable(f"{self._path}: {error.strerror or error}") from error
            left, at = left[count:], at + count

    def written(self) -> Written:
        """Size and digest, once the file has its name; reads it."""
        return Written(self._path.stat().st_size, digest_file(self._path))
