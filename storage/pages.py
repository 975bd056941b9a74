"""Files as mapped pages: read without a copy, and let go of when they were read."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from .errors import ObjectMissing, StorageUnavailable

# Private, so that a slip writes to a copy of the page and neither to the file nor to a dead process;
# without a reservation, so that a model larger than memory may be mapped.
_MAP_FLAGS = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0)


def map_pages(path: Path, size: int) -> mmap.mmap:
    """The first `size` bytes of a file, above 0, as mapped pages.

    Raises:
        ObjectMissing: no such file.
        StorageUnavailable: the file can't be mapped, or is shorter.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < size:
                raise StorageUnavailable(f"{path}: shorter than the {size} bytes to map")
            return mmap.mmap(file.fileno(), size, flags=_MAP_FLAGS, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    except FileNotFoundError as error:
        raise ObjectMissing(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise StorageUnavailable(f"{path}: {error}") from error


def let_go(file: mmap.mmap, start: int, length: int) -> None:
    """Unmap whole pages that were read: they stay in the system's cache, and out of our memory."""
    first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    last = (start + length) // mmap.PAGESIZE * mmap.PAGESIZE
    if last > first:
        file.madvise(mmap.MADV_DONTNEED, first, last - first)
