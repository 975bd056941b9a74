"""A canonical safetensors file that is written piece by piece, in any order: for models that no memory holds whole."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from math import prod
from pathlib import Path
from types import TracebackType

from .digests import BLOCK_BYTES, lasting
from .errors import StorageUnavailable
from .files import opened, rewriting
from .tensors import DTYPES, Form, Written, canonical, header_bytes


class RangeFile:
    """As a context: `written` says what it is when the block has ended well; when it did not there is no file.

    Equal contents give the bytes of `write_file`. Every item has to be written: what lay there before is written over.
    """

    def __init__(self, path: Path, tensors: Iterable[Form], metadata: Mapping[str, str]) -> None:
        """Nothing is written yet. `tensors`: each name once."""
        ordered = canonical(tensors)
        self._header = header_bytes(ordered, metadata)
        self._places: dict[str, tuple[int, int]] = {}  # name -> first byte, bytes of an item
        self._left: dict[str, int] = {}  # name -> bytes that are still to be written
        self._size = len(self._header)
        for name, dtype, shape in ordered:
            self._places[name] = self._size, DTYPES[dtype]
            self._left[name] = prod(shape) * DTYPES[dtype]
            self._size += self._left[name]
        self._hasher = lasting()
        self._hasher.update(self._header)
        self._digested = len(self._header)  # bytes from the file's beginning that went through the hasher
        self._path = path

    def __enter__(self) -> RangeFile:
        with ExitStack() as stack:
            self._file = stack.enter_context(rewriting(self._path))
            self._file.write(self._header)
            self._file.truncate(self._size)
            self._file.seek(self._size)  # where `rewriting` cuts it off
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._open.__exit__(kind, error, trace)

    def write(self, name: str, first: int, data: memoryview) -> None:
        """Write bytes of items from the `first` one on. Raises StorageUnavailable: the disk is full or refuses."""
        start, item_bytes = self._places[name]
        at, whole = start + first * item_bytes, data.cast("B") if data else data
        self._left[name] -= len(whole)
        for begin in range(0, len(whole), BLOCK_BYTES):
            block = whole[begin : begin + BLOCK_BYTES]
            if at + begin == self._digested:
                self._hasher.update(block)
                self._digested += len(block)
            self._put(block, at + begin)

    def written(self) -> Written:
        """Size and digest, once the block has ended. What was not written in the file's order is read again."""
        lacking = [name for name, left in self._left.items() if left > 0]
        assert not lacking, f"{self._path}: not all of {lacking[:5]} was written"
        with opened(self._path) as file:
            file.seek(self._digested)
            buffer = memoryview(bytearray(BLOCK_BYTES))
            while count := file.readinto(buffer):
                self._hasher.update(buffer[:count])
        return Written(self._size, self._hasher.hexdigest())

    def _put(self, left: memoryview, at: int) -> None:
        while left:
            try:
                count = os.pwrite(self._file.fileno(), left, at)
            except OSError as error:
                raise StorageUnavailable(f"{self._path}: {error.strerror or error}") from error
            left, at = left[count:], at + count
