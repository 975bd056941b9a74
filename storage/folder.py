"""The object store as a folder: create-once is `link`, replace is `rename`, an object is a file to map."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from .body import Body
from .disk_errors import disk_answers
from .errors import KeyRefused, ObjectDamaged, ObjectMissing, StorageUnavailable
from .object_rules import check_key, check_metadata, check_prefix
from .objects import DOCUMENT_BYTES_MAX, OBJECT_BYTES_MAX, ObjectInfo
from .space import Space

TEMPORARY = ".tmp"  # no key starts with a dot
LEFTOVER_SECONDS_MAX = 86_400.0  # a file in the making for longer than a day has lost its writer
FOLDER_TRIES_MAX = 100  # to make a folder that others keep removing because it is empty

_NO_OBJECT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class FolderStore:
    """Keys are paths under `root`; any number of this machine's processes may share it.

    Content types and metadata are checked and then dropped.
    """

    def __init__(self, root: Path, *, fsync: bool = False) -> None:
        """Open the store; makes the folder where it is missing.

        Args:
            root: where the objects stand.
            fsync: force each object to the disk before it gets its name: safe against power loss, and slow.
        """
        self._root = root.absolute()
        self._temporary = self._root / TEMPORARY
        self._fsync = fsync
        with disk_answers(self._root):
            self._temporary.mkdir(parents=True, exist_ok=True)
            found = self._temporary.stat()
            self._mode, self._disk = found.st_mode & 0o666, found.st_dev  # as this user's files are made, and where
            self._remove_leftovers()

    def create(
        self,
        key: str,
        body: bytes | Path,
        *,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        given: bool = False,
    ) -> bool:
        path = self._path(key)
        check_metadata(metadata)
        if given and isinstance(body, Path) and self._can_keep(body):
            with disk_answers(self._root):
                self._keep(body)
                return self._link(body, path)
        with Body(body) as source, disk_answers(self._root), self._written(source) as written:
            return self._link(written, path)

    def replace(
        self,
        key: str,
        body: bytes | Path,
        *,
        tag: str | None,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
    ) -> bool:
        if tag is None:
            return self.create(key, body, content_type=content_type, metadata=metadata)
        path = self._path(key)
        check_metadata(metadata)
        with Body(body) as source, disk_answers(self._root), self._written(source) as written, self._locked():
            if (found := _info(key, path)) is None or found.tag != tag:
                return False
            written.replace(path)
            self._settle(path.parent)
            return True

    def read(self, key: str, *, limit: int = DOCUMENT_BYTES_MAX) -> bytes:
        with self._opened(key, limit) as source:
            return b"".join(bytes(block) for block in source.blocks())

    def read_range(self, key: str, start: int, length: int) -> bytes:
        with self._opened(key, None) as source:
            return b"".join(bytes(block) for block in source.blocks(start, length))

    def fetch(self, key: str, path: Path, *, limit: int) -> int:
        with self._opened(key, limit) as source, path.open("r+b" if path.exists() else "wb") as target:
            with disk_answers(path):
                for block in source.blocks():
                    target.write(block)
                target.truncate(source.size)
            return source.size

    def local_path(self, key: str) -> Path | None:
        path = self._path(key)
        if _info(key, path) is None:
            raise ObjectMissing(f"no object {key} in {self._root}")
        return path

    def stat(self, key: str) -> ObjectInfo | None:
        with disk_answers(self._root):
            return _info(key, self._path(key))

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        return self._objects(*_split(check_prefix(prefix)), after)

    def folders(self, prefix: str) -> Iterator[str]:
        return self._folders(*_split(check_prefix(prefix)))

    def _objects(self, folder: str, start: str, after: str) -> Iterator[ObjectInfo]:
        with disk_answers(self._root):
            yield from self._walk(folder, start, after)

    def _folders(self, folder: str, start: str) -> Iterator[str]:
        with disk_answers(self._root):
            for name in self._names(folder):
                if name.startswith(start) and name.endswith("/") and any(self._walk(folder + name, "", "")):
                    yield name[:-1]

    def delete(self, key: str) -> None:
        self.delete_all([key])

    def delete_all(self, keys: Sequence[str]) -> None:
        paths = [self._path(key) for key in keys]
        with disk_answers(self._root), self._locked():
            emptied: dict[Path, None] = {}
            for path in paths:
                with contextlib.suppress(*_NO_OBJECT):
                    path.unlink()
                    emptied[path.parent] = None
            for folder in emptied:
                self._remove_empty(folder)

    def space(self) -> Space | None:
        """The room on the folder's disk."""
        try:
            found = shutil.disk_usage(self._root)
        except OSError:
            return None
        return Space(found.free, found.total)

    def close(self) -> None:
        """Nothing is held open."""

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _walk(self, folder: str, start: str, after: str) -> Iterator[ObjectInfo]:
        """Objects in a folder ("" or ending in /) whose names begin with `start`, in order of their keys."""
        for name in self._names(folder):
            key = folder + name
            if not name.startswith(start):
                continue
            if name.endswith("/"):
                if key > after or after.startswith(key):
                    yield from self._walk(key, "", after)
            elif key > after and (found := _info(key, self._root / key)) is not None:
                yield found

    def _names(self, folder: str) -> Sequence[str]:
        """A folder's name carries its slash, which sorts as in full keys: `a-b` < `a/b` < `ab`."""
        try:
            with os.scandir(self._root / folder) as entries:
                names = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name for name in names if folder or not name.startswith("."))

    @contextlib.contextmanager
    def _opened(self, key: str, limit: int | None) -> Iterator[Body]:
        path = self._path(key)
        with disk_answers(self._root):
            try:
                source = Body(path)
            except _NO_OBJECT:
                raise ObjectMissing(f"no object {key} in {self._root}") from None
        with source:
            if limit is not None and source.size > limit:
                raise ObjectDamaged(f"{key}: {source.size} bytes are over the limit of {limit}")
            yield source

    @contextlib.contextmanager
    def _written(self, source: Body) -> Iterator[Path]:
        """The body as a whole file on the same disk that has no key yet."""
        path = self._temporary / uuid4().hex
        try:
            with path.open("wb") as file:
                for block in source.blocks():
                    file.write(block)
                file.flush()
                # The kernel stamps files by its tick (4 ms): two replaces within one could share a tag.
                os.utime(file.fileno(), ns=(time.time_ns(), time.time_ns()))
                if self._fsync:
                    os.fsync(file.fileno())
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _can_keep(self, path: Path) -> bool:
        """Whether a file that was given can be the object: else it lies on another disk, and must be copied."""
        found = path.stat()
        return found.st_dev == self._disk and found.st_size <= OBJECT_BYTES_MAX

    def _keep(self, path: Path) -> None:
        """Make a file that was given fit to be an object. By its name: opening it takes longer than all this."""
        path.chmod(self._mode)
        os.utime(path, ns=(time.time_ns(), time.time_ns()))
        if self._fsync:
            with path.open("rb") as file:
                os.fsync(file.fileno())

    def _link(self, written: Path, path: Path) -> bool:
        for _ in range(FOLDER_TRIES_MAX):
            try:
                os.link(written, path)
            except FileExistsError:
                if path.is_dir():
                    raise KeyRefused(f"{path} is a folder of other objects") from None
                return False
            except FileNotFoundError:
                self._make_folder(path.parent)
            except NotADirectoryError:
                raise KeyRefused(f"{path}: a part of it is an object") from None
            else:
                self._settle(path.parent)
                return True
        raise StorageUnavailable(f"{path.parent} vanishes as often as it is made")

    def _make_folder(self, folder: Path) -> None:
        with contextlib.suppress(FileNotFoundError):  # its parent, still empty, was removed
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except NotADirectoryError:
                raise KeyRefused(f"{folder}: a part of it is an object") from None
            except FileExistsError:  # a file; or a folder that was removed since
                if folder.exists():
                    raise KeyRefused(f"{folder} is an object") from None

    def _remove_empty(self, folder: Path) -> None:
        """Remove the folders that a deleted object leaves empty, as on S3 they were never there."""
        while folder != self._root:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent

    def _settle(self, folder: Path) -> None:
        """With fsync, names too must be on the disk before anybody is told of them."""
        if self._fsync:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One replace or delete at a time, over all processes; the lock ends with its holder."""
        with (self._temporary / "lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _remove_leftovers(self) -> None:
        oldest = time.time() - LEFTOVER_SECONDS_MAX
        for path in self._temporary.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.name != "lock" and path.stat().st_mtime < oldest:
                    path.unlink()


def _split(prefix: str) -> tuple[str, str]:
    """The prefix's last whole folder ("" or ending in /), and what names in it begin with."""
    folder, slash, start = prefix.rpartition("/")
    return folder + slash, start


def _info(key: str, path: Path) -> ObjectInfo | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return ObjectInfo(key, found.st_size, f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}")
