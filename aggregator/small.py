"""Small updates: read into memory once, examined and folded there. A file for each would cost more than all else."""

from __future__ import annotations

from dataclasses import dataclass

from ..storage.keys import UpdateName
from ..storage.parcels import MEMBER_BYTES_MAX
from ..storage.tensors import Header

SMALL_BYTES = 1 << 18  # an update of so many bytes is read at once: mapping it would cost more
ROOM_BYTES = 12 << 20  # about so many of them wait in memory for their turn in the fold


@dataclass(frozen=True, slots=True)
class Small:
    """An update in memory, read as a file is."""

    header: Header
    data: memoryview  # the whole file

    def read_into(self, buffer: memoryview, at: int) -> None:
        """Fill a buffer of bytes from this place on."""
        buffer[:] = self.data[at : at + len(buffer)]


def limit_of(name: UpdateName) -> int:
    """The most bytes that this update may have to be small. With its parcel it comes into memory whatever its size."""
    return MEMBER_BYTES_MAX if name.parcel else SMALL_BYTES


def has_room(count: int, size: int, limit: int) -> bool:
    """Whether an update of so many bytes, 0 where nobody knows, is small, and fits beside so many others."""
    return 0 < size <= limit and count * size < ROOM_BYTES
