"""Collects what is no longer needed: updates of committed rounds, and checkpoints that retention gives up."""

from __future__ import annotations

import logging
import queue

from ..storage import keys
from ..storage.errors import StorageError
from ..storage.job import JobSpec, keep_rule
from ..storage.objects import ObjectStore
from .ports import Stop

WAIT_SECONDS = 1.0
BACKLOG_MAX = 10_000  # rounds that wait to be collected; what is dropped here `warren job gc` finds

log = logging.getLogger("warren.aggregator")


class Collecting:
    """Deletes off the rounds' path. Only updates of committed rounds go, and only checkpoints nobody starts from."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._due: queue.Queue[tuple[JobSpec, int]] = queue.Queue(BACKLOG_MAX)

    def committed(self, spec: JobSpec, round_number: int) -> None:
        """A round was committed: what it outdates goes, later."""
        try:
            self._due.put_nowait((spec, round_number))
        except queue.Full:
            log.warning("round %d is left to `warren job gc`", round_number, extra={"job": spec.job})

    def run(self, stop: Stop) -> None:
        """Until told to stop."""
        while not stop.is_set():
            try:
                spec, round_number = self._due.get_nowait()
            except queue.Empty:
                stop.wait(WAIT_SECONDS)
                continue
            try:
                for key in outdated(self._store, spec, round_number):
                    self._store.delete(key)
            except StorageError as error:
                log.warning("collecting waits: %s", error, extra={"job": spec.job})


def outdated(store: ObjectStore, spec: JobSpec, round_number: int) -> list[str]:
    """The keys that the commit of this round makes superfluous.

    A late update or losing attempt of a kept round goes with its round.
    """
    gone = round_number - spec.keep_updates
    found = [info.key for info in store.list(keys.updates(spec.job, gone))] if gone >= 0 else []
    return found + [key for n in outdated_checkpoints(spec, round_number) for key in _checkpoint_keys(spec.job, n)]


def outdated_checkpoints(spec: JobSpec, round_number: int) -> list[int]:
    """Rounds whose checkpoint goes now; never the newest two: the next round and evaluations start from them."""
    rule, count = keep_rule(spec.keep_checkpoints)
    if rule == "last":
        gone = round_number - max(2, count)
        return [gone] if gone >= 0 else []
    if rule == "every":
        gone = round_number - 2
        return [gone] if gone >= 0 and gone % count else []
    return []


def _checkpoint_keys(job: str, round_number: int) -> list[str]:
    return [keys.checkpoint(job, round_number), keys.optimizer(job, round_number)]
