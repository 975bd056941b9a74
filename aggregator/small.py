"""Small updates: read into memory once, examined and folded there. A file for each would cost more than all else."""

from __future__ import annotations

from dataclasses import dataclass

from ..storage.tensors import Header

SMALL_BYTES = 1 << 18  # an update of so many bytes is read at once: mapping it would cost more
ROOM_BYTES = 4 << 20  # about so many of them wait in memory for their turn in the fold


@dataclass(frozen=True, slots=True)
class Small:
    """An update in memory, read as a file is."""

    header: Header
    data: bytearray  # the whole file

    def read_into(self, buffer: memoryview, at: int) -> None:
        """Fill a buffer of bytes from this place on."""
        buffer[:] = memoryview(self.data)[at : at + len(buffer)]


def has_room(count: int, size: int) -> bool:
    """Whether an update of so many bytes, 0 where nobody knows, is small, and fits beside so many others."""
    return 0 < size <= SMALL_BYTES and count * size < ROOM_BYTES
