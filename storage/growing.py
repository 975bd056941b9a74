"""A file that another process is still writing, read as far as it goes; its last byte only once it is whole."""

from __future__ import annotations

import threading
import time
from io import FileIO
from pathlib import Path
from typing import Protocol, runtime_checkable

from .errors import NeverWhole

STALL_SECONDS = 60.0  # without one byte more: its writer, or its disk, hangs


class Growing:
    """Whoever reads it waits for what is not there yet. One thread or several read; another says how it ends.

    So what is sent of it can never be complete before the writer said that it is, and a store discards it.
    """

    def __init__(self, path: Path, size: int, *, stall_seconds: float = STALL_SECONDS) -> None:
        """Take the file at `path`, which is there, and will have `size` bytes, above 0; none is written yet."""
        self.path = path
        self.size = size
        self._stall_seconds = stall_seconds
        self._changed = threading.Condition()
        self._there = 0
        self._whole = False
        self._why = ""  # it will never be whole

    def grown(self, size: int) -> None:
        """So many bytes are written. Its own size says nothing: it may be written over an older file."""
        with self._changed:
            self._there = max(self._there, size)
            self._changed.notify_all()

    def finish(self) -> None:
        """Its writer has closed it."""
        with self._changed:
            self._whole = True
            self._changed.notify_all()

    def break_off(self, why: str) -> None:
        """Its writer is gone, or wrote something else."""
        with self._changed:
            self._why = why
            self._changed.notify_all()

    def open(self) -> FileIO:
        """The file, unbuffered. Raises NeverWhole: its writer took it away."""
        try:
            return self.path.open("rb", buffering=0)
        except OSError as error:
            raise NeverWhole(f"{self.path}: {error.strerror}") from error

    def ready(self, start: int) -> int:
        """How many bytes may be read from `start` on; waits until there is one. Raises NeverWhole."""
        until = time.monotonic() + self._stall_seconds
        with self._changed:
            while not self._whole:
                if self._why:
                    raise NeverWhole(f"{self.path}: {self._why}")
                there = min(self._there, self.size - 1)
                if there > start:
                    return there - start
                if not self._changed.wait(until - time.monotonic()) and self._there <= there:
                    raise NeverWhole(f"{self.path}: {there} of {self.size} bytes for {self._stall_seconds:.0f} s")
        return self.size - start


@runtime_checkable
class TakesGrowing(Protocol):
    """A store that is sent a file while it is being written: one of local files has nothing to gain."""

    def create_growing(self, key: str, file: Growing) -> bool:
        """As `ObjectStore.create`; no object is made unless the file becomes whole. Raises NeverWhole, too."""
        ...
