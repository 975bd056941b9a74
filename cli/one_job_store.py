"""A store in which only one job can be found: an embedded run leads its own, and leaves its neighbours be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..storage.objects import DOCUMENT_BYTES_MAX, ObjectInfo, ObjectStore

JOBS = "jobs/"


class OneJobStore:
    """All objects of `store`; the listing of jobs names this one alone."""

    def __init__(self, store: ObjectStore, job: str) -> None:
        self._store = store
        self._job = job

    def folders(self, prefix: str) -> Iterator[str]:
        names = self._store.folders(prefix)
        return (name for name in names if name == self._job) if prefix in (JOBS, "updates/") else names

    def create(
        self,
        key: str,
        body: bytes | Path,
        *,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        given: bool = False,
    ) -> bool:
        return self._store.create(key, body, content_type=content_type, metadata=metadata, given=given)

    def replace(
        self,
        key: str,
        body: bytes | Path,
        *,
        tag: str | None,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
    ) -> bool:
        return self._store.replace(key, body, tag=tag, content_type=content_type, metadata=metadata)

    def read(self, key: str, *, limit: int = DOCUMENT_BYTES_MAX) -> bytes:
        return self._store.read(key, limit=limit)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        return self._store.read_range(key, start, length)

    def fetch(self, key: str, path: Path, *, limit: int) -> int:
        return self._store.fetch(key, path, limit=limit)

    def local_path(self, key: str) -> Path | None:
        return self._store.local_path(key)

    def stat(self, key: str) -> ObjectInfo | None:
        return self._store.stat(key)

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        return self._store.list(prefix, after=after)

    def delete(self, key: str) -> None:
        self._store.delete(key)

    def delete_all(self, keys: Sequence[str]) -> None:
        self._store.delete_all(keys)

    def close(self) -> None:
        self._store.close()
