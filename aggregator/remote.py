"""A frozen update that stays in the object store: fetched chunk by chunk when its items are needed."""

from __future__ import annotations

import threading
from collections import OrderedDict

from blake3 import blake3

from ..storage.errors import ObjectDamaged
from ..storage.objects import ObjectStore
from ..storage.tensors import header_length, parse_header

CHUNKS_KEPT = 2  # what several threads read at a time lies side by side
CHUNK_BYTES_MIN = 1 << 16
CHUNK_BYTES_MAX = 8 << 20
LENGTH_BYTES = 8


class RemoteSource:
    """One object, read whole once to see that it is the frozen one; each chunk is held to that afterwards."""

    def __init__(
        self, store: ObjectStore, key: str, size: int, digest: str, chunk_bytes: int = CHUNK_BYTES_MAX
    ) -> None:
        """Read it through.

        Args:
            size, digest: as frozen.
            chunk_bytes: of one request; two chunks stay in memory.

        Raises:
            ObjectMissing, ObjectDamaged: it is not there, or not as it was frozen.
        """
        self._store, self._key, self._size = store, key, size
        self._chunk_bytes = max(CHUNK_BYTES_MIN, min(CHUNK_BYTES_MAX, chunk_bytes))
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._digests: list[bytes] = []
        self._verify(digest)
        length = header_length(self._bytes(0, min(LENGTH_BYTES, size)), size)
        self.header = parse_header(bytes(self._bytes(LENGTH_BYTES, length)), size)

    def data(self, start: int, length: int) -> bytearray:
        """Bytes [start, start + length) of the data section. Raises ObjectMissing, ObjectDamaged."""
        return self._bytes(self.header.data_start + start, length)

    def _verify(self, digest: str) -> None:
        whole = blake3(max_threads=1)
        for start in range(0, self._size, self._chunk_bytes):
            chunk = self._store.read_range(self._key, start, min(self._chunk_bytes, self._size - start))
            whole.update(chunk)
            self._digests.append(blake3(chunk, max_threads=1).digest())
        if whole.hexdigest() != digest:
            raise ObjectDamaged(f"{self._key} is not the update that was frozen")

    def _bytes(self, start: int, length: int) -> bytearray:
        found = bytearray()
        while len(found) < length:
            at = start + len(found)
            number = at // self._chunk_bytes
            begin = at - number * self._chunk_bytes
            part = memoryview(self._chunk(number))[begin : begin + length - len(found)]
            assert part, "read past the end"
            found += part
        return found

    def _chunk(self, number: int) -> bytes:
        with self._lock:
            if number not in self._kept:
                start = number * self._chunk_bytes
                chunk = self._store.read_range(self._key, start, min(self._chunk_bytes, self._size - start))
                if blake3(chunk, max_threads=1).digest() != self._digests[number]:
                    raise ObjectDamaged(f"{self._key} was replaced after it was frozen")
                self._kept[number] = chunk
                while len(self._kept) > CHUNKS_KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(number)
            return self._kept[number]
