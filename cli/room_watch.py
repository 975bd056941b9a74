"""Warns before the store is full: what is free there, beside what the job may still write."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..aggregator.holding import most_held, still_to_come
from ..storage.documents import Manifest
from ..storage.job import JobSpec
from ..storage.objects import ObjectStore
from ..storage.space import Space, space_of
from .tables import size_text

LOOK_SECONDS = 60.0
FREE_BYTES_MIN = 500_000_000  # below it a warning, whatever the job needs


class RoomWatch:
    """Looks at a store's room now and then. Asks the store seldom: MinIO makes its answer with some effort."""

    def __init__(self, store: ObjectStore, spec: JobSpec, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._spec = spec
        self._clock = clock
        self._looked: float | None = None
        self._warnings: tuple[str, ...] = ()

    def warnings(self, last: Manifest | None) -> tuple[str, ...]:
        """What to warn of, after the newest frozen round."""
        now = self._clock()
        if self._looked is None or now - self._looked >= LOOK_SECONDS:
            self._looked = now
            space = space_of(self._store)
            self._warnings = () if space is None else room_warnings(self._spec, last, space)
        return self._warnings


def room_warnings(spec: JobSpec, last: Manifest | None, space: Space) -> tuple[str, ...]:
    """A warning where the job may not fit, or where hardly anything would."""
    model = model_bytes(last)
    needed = still_to_come(spec, last.round) * model if last is not None else 0
    if needed > space.free:
        return (
            f"the store has {size_text(space.free)} left, and this job may write {size_text(needed)} more: "
            "make room (`warren job gc`, `warren job rm`), or it will wait there",
        )
    if space.free < FREE_BYTES_MIN:
        return (f"the store has only {size_text(space.free)} left",)
    return ()


def model_bytes(last: Manifest | None) -> int:
    """The size of a checkpoint, as the newest round names it; 0 before there is one."""
    return last.base.size if last is not None and last.base is not None else 0


def formula(spec: JobSpec) -> str:
    """The bound of a job whose model nobody has seen yet."""
    most = most_held(spec)
    parts = [f"{most.updates} updates", f"{most.checkpoints} checkpoints"]
    parts += [f"{most.states} of the strategy's state"] if most.states else []
    return f"holds at most {size_text(most.models * 1e6)} for each MB of the model ({', '.join(parts)})"
