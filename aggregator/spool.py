"""Objects as files while they are needed: mapped where the store is a folder, else fetched, within a bound."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..storage.errors import ObjectDamaged, ObjectMissing, StorageError
from ..storage.files import making
from ..storage.keys import split_place
from ..storage.objects import ObjectStore
from ..storage.parcels import ParcelDamaged, Parcels
from .ports import UpdateRejected

SPOOL_BYTES_MAX = 16 << 30  # of updates that wait for their turn; above it they are fetched again when it comes


class TooLarge(ObjectDamaged):
    """The object has more bytes than it may; it was not read."""


class Spool:
    """One job's files. Several threads may fetch at a time."""

    def __init__(self, store: ObjectStore, folder: Path, bytes_max: int = SPOOL_BYTES_MAX) -> None:
        """Spool into `folder`, which is this job's alone; what lies in it is deleted."""
        self._store = store
        self._folder = folder
        self._bytes_max = bytes_max
        self._bytes = 0
        self._parcels = Parcels(store)
        self._kept: dict[str, Path] = {}  # key -> file
        self._seen: dict[str, Path] = {}  # key -> the store's own file, which was looked at once
        self._replaced: set[str] = set()
        self._fetched: set[Path] = set()  # files that are ours alone: a store of files may keep what it was given
        self._spent: dict[Path, None] = {}  # of those, released ones: to write over is quicker than to make new
        self._most = 0  # of those at once since the last `clear`: so many will be needed again
        self._lock = threading.Lock()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def own(self, name: str) -> Path:
        """A file of this job's to write to."""
        return self._folder / name

    def over(self, name: str) -> Path:
        """As `own`: if one is at hand, a file stands there that is not needed any more, to be written over."""
        path = self._folder / name
        self._reuse(path)
        return path

    def path(self, key: str, limit: int) -> Path:
        """The object, or member of a parcel, as a file: read it, don't change it; `release` it afterwards.

        Raises:
            ObjectMissing: no such key.
            TooLarge: more than `limit` bytes.
            ParcelDamaged: the parcel can't be read.
        """
        with self._lock:
            kept = self._kept.get(key) or self._seen.get(key)
        if kept is not None:
            return kept
        local = self._local(key)
        if local is not None:
            self._seen[key] = _within(local, limit)
            return local
        path = self._folder / file_name(key)
        self._reuse(path)
        try:
            size = self._fetch(key, path, limit)
        except ParcelDamaged:
            path.unlink(missing_ok=True)
            raise
        except ObjectDamaged as error:
            path.unlink(missing_ok=True)
            raise TooLarge(str(error)) from None
        except StorageError:
            path.unlink(missing_ok=True)
            raise
        with self._lock:
            self._kept[key] = path
            self._bytes += size
        return path

    def read(self, key: str, limit: int) -> memoryview:
        """The object, or member of a parcel, in memory. Raises as `path`; ObjectDamaged where it is too large."""
        if _member(key):
            return self._parcels.read(key, limit)
        return memoryview(self._store.read(key, limit=limit))

    def adopt(self, key: str, path: Path) -> None:
        """A file of ours has this object's bytes: no need to fetch it."""
        if self._local(key) is not None:
            path.unlink(missing_ok=True)  # the object may be this very file, and trainers have it mapped
            return
        kept = self._folder / file_name(key)
        with self._lock:
            self._spent.pop(kept, None)
            self._fetched.discard(path)
            path.replace(kept)
            found = kept.stat()
            if found.st_nlink == 1:  # else the store has it, too
                self._fetched.add(kept)
            self._kept[key] = kept
            self._bytes += found.st_size

    def replace(self, key: str, path: Path) -> None:
        """A file of ours, made from this object's bytes, stands for it from now on, until it is released."""
        with self._lock:
            before = self._kept.get(key)
            self._bytes += path.stat().st_size - (before.stat().st_size if before is not None else 0)
            self._kept[key] = path
            self._replaced.add(key)
        if before is not None and before != path:
            before.unlink(missing_ok=True)

    def replaced(self, key: str) -> bool:
        """Whether a file of ours stands for this object."""
        return key in self._replaced

    @property
    def full(self) -> bool:
        """Whether what is not needed at once should be released and fetched again later."""
        return self._bytes > self._bytes_max

    def takes(self, key: str, size: int) -> bool:
        """Whether the object is at hand as a file, or there is room for it."""
        return (
            key in self._kept or self._bytes + size <= self._bytes_max or _member(key) or self._local(key) is not None
        )

    def release(self, key: str) -> None:
        """The file of this key is not needed for now."""
        with self._lock:
            path = self._kept.pop(key, None)
            self._seen.pop(key, None)
            self._replaced.discard(key)
            if path is not None:
                self._bytes -= path.stat().st_size
                self._retire(path)

    def _local(self, key: str) -> Path | None:
        return None if _member(key) else self._store.local_path(key)

    def _fetch(self, key: str, path: Path, limit: int) -> int:
        if not _member(key):
            return self._store.fetch(key, path, limit=limit)  # looks at the size before it reads
        body = self._parcels.read(key, limit)
        with making(path) as file:
            return file.write(body)

    def clear(self) -> None:
        """Release every fetched file; keep as many to write over as there were at once."""
        self._parcels.clear()
        with self._lock:
            for path in self._kept.values():
                self._retire(path)
            while len(self._spent) > self._most:
                path, _ = self._spent.popitem()
                path.unlink(missing_ok=True)
            self._fetched, self._most = set(self._spent), 0
            self._kept.clear()
            self._seen.clear()
            self._replaced.clear()
            self._bytes = 0

    def _retire(self, path: Path) -> None:
        if path in self._fetched:
            self._spent[path] = None
        else:
            path.unlink(missing_ok=True)

    def _reuse(self, path: Path) -> None:
        """Let a file that is not needed any more be the one at this path."""
        with self._lock:
            self._fetched.add(path)
            if path in self._spent:
                del self._spent[path]
            elif self._spent:
                old, _ = self._spent.popitem()
                self._fetched.discard(old)
                with contextlib.suppress(FileNotFoundError):
                    old.replace(path)
            self._most = max(self._most, len(self._fetched) - len(self._spent))

    def close(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


def file_name(key: str) -> str:
    """What a file that stands for this object, or member of a parcel, is called."""
    key, member = split_place(key)
    return f"{key.rpartition('/')[0]}/{member}".replace("/", "~") if member else key.replace("/", "~")


def _member(key: str) -> bool:
    return bool(split_place(key)[1])


def _within(path: Path, limit: int) -> Path:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise ObjectMissing(f"{path} is not in the store") from None
    if size > limit:
        raise TooLarge(f"{size} bytes are over the limit of {limit}")
    return path


@contextmanager
def rejecting(spool: Spool, key: str) -> Iterator[None]:
    """What is too large, or no parcel, is rejected unread; a rejected file is not needed any more."""
    try:
        yield
    except (TooLarge, ParcelDamaged) as error:
        raise UpdateRejected(str(error)) from None
    except UpdateRejected:
        spool.release(key)
        raise
