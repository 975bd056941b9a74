"""A frozen update that stays in the object store: fetched chunk by chunk when its items are needed."""

from __future__ import annotations

import mmap
import threading

from ..storage.digests import kind_of, passing
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
        self._kept: dict[int, mmap.mmap] = {}  # chunks by number, the one that was read last at the end
        self._lock = threading.Lock()
        self._digests: list[str] = []
        self._verify(digest)
        length = header_length(self._bytes(0, min(LENGTH_BYTES, size)), size)
        self.header = parse_header(bytes(self._bytes(LENGTH_BYTES, length)), size)

    def data(self, start: int, length: int) -> bytearray:
        """Bytes [start, start + length) of the data section. Raises ObjectMissing, ObjectDamaged."""
        return self._bytes(self.header.data_start + start, length)

    def _verify(self, digest: str) -> None:
        whole = kind_of(digest)()
        for start in range(0, self._size, self._chunk_bytes):
            chunk = self._store.read_range(self._key, start, min(self._chunk_bytes, self._size - start))
            whole.update(chunk)
            self._digests.append(_digest(chunk))
        if whole.hexdigest() != digest:
            raise ObjectDamaged(f"{self._key} is not the update that was frozen")

    def _bytes(self, start: int, length: int) -> bytearray:
        found = bytearray(length)
        done = 0
        while done < length:
            number, begin = divmod(start + done, self._chunk_bytes)
            with self._lock:
                part = memoryview(self._chunk(number))[begin : self._length(number)][: length - done]
                assert part, "read past the end"
                found[done : done + len(part)] = part
                done += len(part)
                part.release()
        return found

    def _chunk(self, number: int) -> mmap.mmap:
        """The pages that hold a chunk, until another takes its place."""
        pages = self._kept.pop(number, None)
        if pages is None:
            chunk = self._store.read_range(self._key, number * self._chunk_bytes, self._length(number))
            if _digest(chunk) != self._digests[number]:
                raise ObjectDamaged(f"{self._key} was replaced after it was frozen")
            pages = self._free_pages()
            pages[: len(chunk)] = chunk
        self._kept[number] = pages
        return pages

    def _free_pages(self) -> mmap.mmap:
        """Pages of its own for each chunk that is kept, taken over and over.

        Kept among the blocks that are read and freed, chunks would leave the heap in pieces that nothing else fits
        into: it grew by a quarter of the model.
        """
        if len(self._kept) < CHUNKS_KEPT:
            return mmap.mmap(-1, self._chunk_bytes)
        return self._kept.pop(next(iter(self._kept)))

    def _length(self, number: int) -> int:
        """Bytes of a chunk; negative past the end."""
        return min(self._chunk_bytes, self._size - number * self._chunk_bytes)


def _digest(chunk: bytes) -> str:
    hasher = passing()
    hasher.update(chunk)
    return hasher.hexdigest()
