"""What every object store gives (MinIO or any S3; a folder): create-once, whole reads, sorted listings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

OBJECT_BYTES_MAX = 1 << 40  # of one object; S3 itself stops at 5 TiB
DOCUMENT_BYTES_MAX = 64 << 20  # of a JSON document: a manifest of 100,000 clients is about 30 MB


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object of a listing. `tag` changes whenever the bytes do (an ETag); opaque."""

    key: str
    size: int
    tag: str


class ObjectStore(Protocol):
    """All verbs block, retry what is worth it within their own bound, and then raise.

    Raises (each verb):
        StorageUnavailable: no answer, a full disk, a server that is starting: try again later.
        StorageRefused: credentials, rights, no such bucket: a person must mend it.
    """

    def create(
        self,
        key: str,
        body: bytes | Path,
        *,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        given: bool = False,
    ) -> bool:
        """Create-once: True if this call made the object, False if the key was there (and keeps its bytes).

        A reader sees the whole object or none. After a lost answer the store is asked: if the object there
        has these bytes, this call counts as the one that made it. A Path is read once, not kept;
        where it is `given`, nobody will write into that file again, and a store of files may keep it as it is.
        """
        ...

    def replace(
        self,
        key: str,
        body: bytes | Path,
        *,
        tag: str | None,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
    ) -> bool:
        """For derived objects only: write if the object still has this tag (None: if there is none yet)."""
        ...

    def read(self, key: str, *, limit: int = DOCUMENT_BYTES_MAX) -> bytes:
        """The whole object in memory.

        Raises:
            ObjectMissing: no such key.
            ObjectDamaged: larger than `limit` bytes; nothing was read.
        """
        ...

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Bytes [start, start + length) of the object; fewer at its end."""
        ...

    def fetch(self, key: str, path: Path, *, limit: int) -> int:
        """Write the object to `path` (a new or reused file, truncated to fit); returns its size.

        Bytes go to disk as they come. Raises as `read`.
        """
        ...

    def local_path(self, key: str) -> Path | None:
        """The object as a file that may be mapped and read, never changed; None where the store is remote."""
        ...

    def stat(self, key: str) -> ObjectInfo | None:
        """Size and tag, or None where there is no such key."""
        ...

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """Objects whose keys start with the prefix, sorted by key, after the key `after`."""
        ...

    def folders(self, prefix: str) -> Iterator[str]:
        """The names one level under the prefix that have more below them (`jobs/` gives each job's id), sorted."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; nothing happens where there is none."""
        ...

    def delete_all(self, keys: Sequence[str]) -> None:
        """As `delete` for each of these, in few requests. Where it raises, some of them may be gone."""
        ...

    def close(self) -> None: ...
