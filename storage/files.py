"""A file opened to be read, or to be written under a name of its own until it is whole; in our words where it fails."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from io import BufferedReader, BufferedWriter
from pathlib import Path

from .errors import ObjectMissing, StorageUnavailable

OURS_ALONE = 0o600  # nobody else reads what is on its way


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BufferedWriter]:
    """A file to write that takes the name `path` when the block ends well, and is gone when it does not.

    What has the name until then goes first: ext4 sends a file to the disk that is renamed over another (its
    `auto_da_alloc`), 8 to 35 ms on a busy disk for 1 kB, and these are files on their way to a store.
    """
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".writing-", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
            path.unlink(missing_ok=True)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageUnavailable(f"{path}: {error.strerror or error}") from error


@contextlib.contextmanager
def making(path: Path) -> Iterator[BufferedWriter]:
    """As `replacing`, for who tells of the file only afterwards: it is written under its own name.

    A second name and the renaming cost as much as all else that is done with a small file.
    """
    try:
        path.unlink(missing_ok=True)
        try:
            with open(path, "xb", opener=_open) as file:
                yield file
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageUnavailable(f"{path}: {error.strerror or error}") from error


@contextlib.contextmanager
def rewriting(path: Path) -> Iterator[BufferedWriter]:
    """As `making`, over the pages of the file that has the name, where that is nobody else's too.

    A fresh page costs the kernel two to five times the copy into one that is there (and a virtual machine more, whose
    host has to find it first). What stood there is as lost as with `making`, and it must not be mapped any more.
    """
    try:
        try:
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_nlink > 1:
                    path.unlink()
            with os.fdopen(_open(str(path), os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)), "wb") as file:
                yield file
                file.truncate()
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageUnavailable(f"{path}: {error.strerror or error}") from error


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as error:
        raise ObjectMissing(f"{path}: no such file") from error
    except OSError as error:
        raise StorageUnavailable(f"{path}: {error.strerror or error}") from error


class OpenFile:
    """A file that several threads read parts of."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def read_into(self, buffer: memoryview, at: int) -> None:
        """Fill a buffer of bytes from this place on. Raises StorageUnavailable: also where the file ends before."""
        while buffer:
            try:
                count = os.preadv(self._descriptor, [buffer], at)
            except OSError as error:
                raise StorageUnavailable(f"{self._path}: {error.strerror or error}") from error
            if not count:
                raise StorageUnavailable(f"{self._path}: shorter than it was")
            buffer, at = buffer[count:], at + count


@contextlib.contextmanager
def reading(path: Path) -> Iterator[OpenFile]:
    """Raises ObjectMissing, StorageUnavailable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError as error:
        raise ObjectMissing(f"{path}: no such file") from error
    except OSError as error:
        raise StorageUnavailable(f"{path}: {error.strerror or error}") from error
    try:
        yield OpenFile(path, descriptor)
    finally:
        os.close(descriptor)


def _open(name: str, flags: int) -> int:
    return os.open(name, flags, OURS_ALONE)
