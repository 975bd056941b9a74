"""Collects what is no longer needed: updates of committed rounds, and checkpoints that retention gives up."""

from __future__ import annotations

import contextlib
import logging
import queue
from collections.abc import Collection, Iterator
from itertools import islice

from ..storage import keys
from ..storage.errors import StorageError
from ..storage.job import JobSpec
from ..storage.objects import ObjectStore
from .flow.retention import counted_in
from .ports import Stop
from .retention import outdated_checkpoints, superseded_in, waste

WAIT_SECONDS = 1.0
DELETED_MAX = 1000  # objects of one request
SWEEP_VERSIONS = 10  # of an asynchronous job, between two looks for all that it no longer needs
BACKLOG_MAX = 10_000  # rounds that wait to be collected; what is dropped here the next start or `warren job gc` finds

log = logging.getLogger("warren.aggregator")


class Collecting:
    """Deletes off the rounds' path. Only updates of committed rounds go, and only checkpoints nobody starts from."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._due: queue.Queue[tuple[JobSpec, int | None]] = queue.Queue(BACKLOG_MAX)

    def committed(self, spec: JobSpec, round_number: int) -> None:
        """A round was committed: what it outdates goes, later."""
        self._put(spec, round_number)

    def whole(self, spec: JobSpec) -> None:
        """The job is taken up, or over: all that it left and nobody needs goes, later."""
        self._put(spec, None)

    def run(self, stop: Stop) -> None:
        """Until told to stop."""
        while not stop.is_set():
            due = self._taken()
            if not due:
                stop.wait(WAIT_SECONDS)
            for spec, rounds in due:
                try:
                    self._collect(spec, rounds, stop)
                except StorageError as error:
                    log.warning("collecting waits: %s", error, extra={"job": spec.job})

    def _collect(self, spec: JobSpec, rounds: list[int | None], stop: Stop) -> None:
        """All that these commits outdate, many a request: short rounds come faster than single deletes would."""
        found = outdated(self._store, spec, *rounds)
        while not stop.is_set() and (some := list(islice(found, DELETED_MAX))):
            self._store.delete_all(some)

    def _taken(self) -> list[tuple[JobSpec, list[int | None]]]:
        """All that waits, by job."""
        due: dict[str, tuple[JobSpec, list[int | None]]] = {}
        with contextlib.suppress(queue.Empty):
            while True:
                spec, number = self._due.get_nowait()
                due.setdefault(spec.job, (spec, []))[1].append(number)
        return list(due.values())

    def _put(self, spec: JobSpec, round_number: int | None) -> None:
        try:
            self._due.put_nowait((spec, round_number))
        except queue.Full:
            log.warning("what is not needed is left to `warren job gc`", extra={"job": spec.job})


def outdated(store: ObjectStore, spec: JobSpec, *rounds: int | None) -> Iterator[str]:
    """The keys that the commits of these rounds make superfluous; all that are superfluous where None is among them.

    A late update or losing attempt of a kept round goes with its round.
    """
    numbers = [number for number in rounds if number is not None]
    if len(numbers) < len(rounds):
        yield from (found.key for found in waste(store, spec))
    elif spec.schedule.asynchronous:
        for number in numbers:
            gone = number - spec.keep_updates
            yield from counted_in(store, spec, gone) if gone >= 0 else ()
        if any(number % SWEEP_VERSIONS == 0 for number in numbers):
            yield from (found.key for found in waste(store, spec))  # asks who is out: not at each version
    else:
        pairs = [(number - spec.keep_updates, number) for number in numbers]
        yield from _updates_of(store, spec.job, {gone for gone, _ in pairs if gone >= 0})
        for gone, number in pairs:
            yield from superseded_in(store, spec, gone, number) if gone >= 0 else ()
            yield from outdated_checkpoints(store, spec, number)


def _updates_of(store: ObjectStore, job: str, rounds: Collection[int]) -> Iterator[str]:
    """All updates of these rounds, in one listing: short rounds end faster than a store lists each by itself."""
    if not rounds:
        return
    prefix, folders = keys.updates(job), {f"{number:05}" for number in rounds}
    for info in store.list(prefix, after=keys.updates(job, min(rounds))):
        folder = info.key.removeprefix(prefix).partition("/")[0]
        if folder in folders:
            yield info.key
        elif folder > max(folders):
            return  # listed in the order of rounds
