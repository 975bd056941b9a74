"""Where a task's code comes from: this trainer's own folder, the tasks that ship, or, if allowed, the job."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..storage import keys
from ..storage.job import JobSpec
from ..storage.objects import ObjectStore

SOURCE_BYTES_MAX = 4 << 20
SHIPPED = Path(__file__).parent / "tasks"


class TaskNotInstalled(Exception):
    """No file here has the digest that the job names, and code from a job is not taken."""


class TaskCode:
    """Finds a task's source by its sha256. What a digest names never changes, so it is looked for once."""

    def __init__(self, store: ObjectStore, folder: Path | None, *, accept_code: bool, cache: Path, name: str) -> None:
        """Look in `folder` and among the shipped tasks; keep accepted code in `cache`, this trainer's alone."""
        self._store = store
        self._folders = [path for path in (folder, SHIPPED) if path is not None]
        self._accept_code = accept_code
        self._cache = cache
        self._name = name
        self._known: dict[str, Path] = {}

    def path(self, spec: JobSpec) -> Path:
        """The file to run.

        Raises:
            TaskNotInstalled: and what to do about it.
            ObjectMissing: the job's own source is gone from the store.
        """
        known = self._known.get(spec.task.digest)
        if known is None or not known.exists():
            known = self._installed(spec) or self._accepted(spec)
            self._known[spec.task.digest] = known
        return known

    def _installed(self, spec: JobSpec) -> Path | None:
        for folder in self._folders:
            for path in sorted(folder.glob("*.py")):
                if path.stat().st_size <= SOURCE_BYTES_MAX and _digest(path.read_bytes()) == spec.task.digest:
                    return path
        return None

    def _accepted(self, spec: JobSpec) -> Path:
        if not self._accept_code:
            short = spec.task.digest[:8]
            raise TaskNotInstalled(
                f"{self._name}: {spec.task.file} {short}... is not installed there "
                "(put the file into its tasks folder, or start the trainer with --accept-code)"
            )
        body = self._store.read(keys.task(spec.job, spec.task.file), limit=SOURCE_BYTES_MAX)
        if _digest(body) != spec.task.digest:
            raise TaskNotInstalled(f"{spec.task.file} of job {spec.job} is not the source that was submitted")
        path = self._cache / spec.task.digest / spec.task.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        return path


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
