"""Whether a client's update is in the store already: it may never have been told."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..broker.messages import RoundJob
from ..storage import keys
from ..storage.keys import UpdateName
from ..storage.objects import ObjectStore

FRESH_SECONDS = 0.25  # that a listing of parcels does for other clients of the round; what comes later is done twice


class Stored:
    """Looks for updates of one source."""

    def __init__(self, store: ObjectStore, source: str, clock: Callable[[], float]) -> None:
        self._store = store
        self._source = source
        self._clock = clock
        self._listed = ("", 0)  # job and round
        self._listed_at = -FRESH_SECONDS
        self._in_parcels: dict[str, list[UpdateName]] = {}  # by client

    def find(self, job: RoundJob) -> tuple[UpdateName, int] | None:
        """An update of this client and round that was not set aside, and its bytes, 0 where it lies in a parcel."""
        for name, size in self._updates(job):
            if name.attempt not in job.set_aside:
                return name, size
        return None

    def _updates(self, job: RoundJob) -> Iterator[tuple[UpdateName, int]]:
        for info in self._store.list(keys.updates(job.job, job.round, self._source, job.client)):
            yield from ((name, info.size) for name in keys.read_updates(info.key))
        if job.parcels:
            yield from ((name, 0) for name in self._parcels(job).get(job.client, ()))

    def _parcels(self, job: RoundJob) -> dict[str, list[UpdateName]]:
        """What lies in parcels: one listing for many short works, as it names all clients of the round."""
        if self._listed != (job.job, job.round) or self._clock() - self._listed_at >= FRESH_SECONDS:
            self._in_parcels = {}
            for info in self._store.list(keys.parcels(job.job, job.round, self._source)):
                for name in keys.read_updates(info.key):
                    self._in_parcels.setdefault(name.client, []).append(name)
            self._listed, self._listed_at = (job.job, job.round), self._clock()
        return self._in_parcels
