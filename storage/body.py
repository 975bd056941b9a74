"""The bytes to be stored, from memory or a file, whole or growing: their size, and all in blocks, however often."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from types import TracebackType

from .errors import ObjectDamaged, StorageUnavailable
from .growing import Growing
from .objects import OBJECT_BYTES_MAX

BLOCK_BYTES = 1 << 20  # fewer cost a fifth more of a core to send; a socket's timeout counts for one block


class Body:
    """Opened once, so that every try sends the same file even if its name is reused meanwhile."""

    def __init__(self, source: bytes | Path | Growing) -> None:
        """Open the source.

        Raises:
            ObjectDamaged: it is over the limit of any object.
            NeverWhole: a growing file was taken away.
            OSError: the caller's own file is not there, or not readable.
        """
        self._growing = source if isinstance(source, Growing) else None
        self._file: FileIO | None = None
        self._bytes = b""
        if isinstance(source, Growing):
            self._file, self.name, self.size = source.open(), str(source.path), source.size
        elif isinstance(source, Path):
            self._file, self.name = source.open("rb", buffering=0), str(source)
            self.size = os.fstat(self._file.fileno()).st_size
        else:
            self._bytes, self.name, self.size = source, f"{len(source)} bytes", len(source)
        if self.size > OBJECT_BYTES_MAX:
            self.close()
            raise ObjectDamaged(f"{self.name}: {self.size} bytes are over the limit of {OBJECT_BYTES_MAX}")

    def blocks(self, start: int = 0, length: int | None = None) -> Iterator[memoryview]:
        """The bytes [start, start + length) in blocks; each is valid until the next is asked for.

        Raises:
            ObjectDamaged: the file shrank since it was opened.
            NeverWhole: a growing one stopped to.
        """
        end = self.size if length is None else min(self.size, start + length)
        if self._file is None:
            view = memoryview(self._bytes)
            yield from (view[at : min(end, at + BLOCK_BYTES)] for at in range(start, end, BLOCK_BYTES))
            return
        buffer = memoryview(bytearray(min(BLOCK_BYTES, max(0, end - start))))
        while start < end:
            count = self._read_into(buffer[: end - start], start)
            yield buffer[:count]
            start += count

    def _read_into(self, buffer: memoryview, start: int) -> int:
        assert self._file is not None
        if self._growing is not None:
            buffer = buffer[: self._growing.ready(start)]
        try:
            count = os.preadv(self._file.fileno(), [buffer], start)
        except OSError as error:
            raise StorageUnavailable(f"{self.name} can't be read: {error.strerror}") from error
        if count == 0:
            raise ObjectDamaged(f"{self.name} became shorter while it was read: {start} of {self.size} bytes")
        return count

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Body:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
