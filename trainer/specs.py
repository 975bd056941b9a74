"""The specs of the jobs that a trainer works for: read once each, the least recently used forgotten."""

from __future__ import annotations

from functools import lru_cache

from ..storage import keys
from ..storage.job import JobSpec, read_spec
from ..storage.objects import ObjectStore

SPECS_KEPT = 64


class Specs:
    """One trainer's."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._kept: dict[str, JobSpec] = {}

    def of(self, job: str) -> JobSpec:
        """The job's spec. Raises ObjectMissing, ObjectDamaged, and as the store does."""
        spec = self._kept.pop(job, None) or _read(self._store.read(keys.spec(job)))
        self._kept[job] = spec
        while len(self._kept) > SPECS_KEPT:
            self._kept.pop(next(iter(self._kept)))
        return spec


_read = lru_cache(maxsize=SPECS_KEPT)(read_spec)  # so that trainers of one process name one spec by one object
