"""The checkpoints that a trainer has fetched, by digest: one fetch a round, however many clients it runs."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ..broker.messages import RoundJob
from ..storage.digests import has_digest
from ..storage.errors import ObjectDamaged
from ..storage.objects import ObjectStore

KEPT = 2  # the round's own and the one before: late jobs and evaluations start from it


class Checkpoints:
    """A folder of fetched checkpoints, the least recently used deleted first."""

    def __init__(self, store: ObjectStore, folder: Path) -> None:
        """Use `folder`, which is this trainer's alone; what lies in it is deleted."""
        self._store = store
        self._folder = folder
        self._kept: dict[str, Path] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("*.safetensors"):
            left.unlink()

    def path(self, job: RoundJob) -> Path | None:
        """The checkpoint that the job starts from, as a file to read; None for round 0.

        Raises:
            ObjectMissing, ObjectDamaged: it is not there, or not the one that was meant.
        """
        return self.named(job.base, job.base_digest, job.base_bytes)

    def named(self, key: str | None, digest: str | None, size: int) -> Path | None:
        """The object of this key, digest and size as a file to read; None where none is named. Raises as `path`."""
        if key is None or digest is None:
            return None
        local = self._store.local_path(key)
        path = self._kept.pop(digest, None)
        # Equal bytes may stand under an older round's key too; that file is the store's, which may collect it.
        if path is None or (local is not None and path != local):
            path = self._get(key, local, digest, size)
        self._kept[digest] = path
        return path

    def _get(self, key: str, local: Path | None, digest: str, size: int) -> Path:
        path = local or self._folder / f"{digest}.safetensors"
        if local is None:
            self._make_room(path)
            self._store.fetch(key, path, limit=size)
        if not has_digest(path, digest):
            raise ObjectDamaged(f"{key} is not what the round job names")
        return path

    def _make_room(self, path: Path) -> None:
        """Keep one less than KEPT; the file that goes becomes `path`: to write over is quicker than to make new.

        Nobody has it mapped any more who would look at it: works name files that are kept.
        """
        while len(self._kept) >= KEPT:
            oldest = self._kept.pop(next(iter(self._kept)))
            if oldest.parent == self._folder:
                with contextlib.suppress(FileNotFoundError):
                    oldest.replace(path)
