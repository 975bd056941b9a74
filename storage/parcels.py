"""Parcels: small updates of several clients as one object. A request to a store costs more than their bytes do.

A parcel is a safetensors file: under `<client>.<attempt>` stands the whole file of that update, as bytes (U8). Its
key names the same members, so that a listing tells what is there.
"""

from __future__ import annotations

import json
import struct
import threading
from collections import OrderedDict
from collections.abc import Sequence

from .errors import ObjectDamaged, ObjectMissing
from .keys import split_place
from .objects import ObjectStore
from .tensors import Header, header_of

MEMBER_BYTES_MAX = 5 << 18  # a larger update is an object of its own
MEMBER_BYTES_MAX_NEAR = 1 << 18  # the same where the store is a folder: there a file costs less than copies do
MEMBERS_MAX = 8
HEADER_BYTES_MAX = 1 << 16
PARCEL_BYTES_MAX = 6 << 20  # with its header
PARCELS_KEPT = 4

_LENGTH = struct.Struct("<Q")


class ParcelDamaged(ObjectDamaged):
    """Not a parcel, or none that is to be read."""


def pack(members: Sequence[tuple[str, bytes]]) -> bytes:
    """A parcel of these updates: names `<client>.<attempt>`, whole files."""
    fields = {}
    end = 0
    for name, body in members:
        start, end = end, end + len(body)
        fields[name] = {"dtype": "U8", "shape": [len(body)], "data_offsets": [start, end]}
    text = json.dumps(fields, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((_LENGTH.pack(len(text)), text, *(body for _, body in members)))


class Parcels:
    """Reads members of parcels; the last few parcels stay in memory. Any thread may read."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._kept: OrderedDict[str, tuple[Header, memoryview]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, place: str, limit: int) -> memoryview:
        """The bytes of one update: read-only, and a part of the parcel, which stays in memory as long as they do.

        Args:
            place: `UpdateName.place` of a member.
            limit: the most bytes that the update may have.

        Raises:
            ObjectMissing: no such parcel, or it holds no such member.
            ParcelDamaged: it can't be read, or the member is over the limit.
        """
        key, member = split_place(place)
        header, data = self._parcel(key)
        found = header.tensors.get(member)
        if found is None or member not in key.rpartition("/")[2].removesuffix(".safetensors").split("_"):
            raise ObjectMissing(f"{key} holds no {member}")
        if found.dtype != "U8" or found.end - found.start > limit:
            raise ParcelDamaged(f"{place}: {found.end - found.start} bytes of {found.dtype}, the limit is {limit}")
        return data[header.data_start + found.start : header.data_start + found.end]

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()

    def _parcel(self, key: str) -> tuple[Header, memoryview]:
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None:
            return kept
        try:
            data = memoryview(self._store.read(key, limit=PARCEL_BYTES_MAX))
            read = header_of(data), data
        except ObjectDamaged as error:
            raise ParcelDamaged(f"{key}: {error}") from None
        with self._lock:
            self._kept[key] = read
            while len(self._kept) > PARCELS_KEPT:
                self._kept.popitem(last=False)
        return read
