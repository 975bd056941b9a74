"""Finds jobs without a leader: those that are submitted, and those that lie in the store."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..broker.errors import BrokerError, MessageUnreadable
from ..broker.messages import Submission, decode
from ..broker.ports import Broker, Consumer
from ..broker.topology import SUBMISSIONS
from ..storage import keys
from ..storage.errors import ObjectDamaged, ObjectMissing, StorageError
from ..storage.objects import ObjectStore
from .leases import Leases
from .ports import Stop
from .record import Record

ORPHAN_TICKS = 2  # takes between two tries to lead what others lead: how late a dead aggregator is noticed
GLANCE_TICKS = 4  # takes between two looks for jobs that were submitted to another aggregator
LIST_SECONDS = 60.0  # between two listings of the jobs: how late a lost submission can be
TAKE_SECONDS = 1.0
TROUBLE_SECONDS = 2.0

log = logging.getLogger("warren.aggregator")


class Finding:
    """Looks for jobs to lead, at start, after Redis was wiped, every minute, and whenever one is submitted."""

    def __init__(self, store: ObjectStore, broker: Broker, leases: Leases, lead: Callable[[str], None]) -> None:
        self._store = store
        self._broker = broker
        self._leases = leases
        self._lead = lead
        self._over: set[str] = set()
        self._running: set[str] = set()  # led here or elsewhere: another's lease may run out any moment
        self._passed_over: set[str] = set()  # until the next listing
        self._ticks = 0

    def run(self, stop: Stop) -> None:
        """Until told to stop. Listing goes on without the broker, and submissions without the store."""
        consumer: Consumer | None = None
        epoch = None
        while not stop.is_set():
            try:
                if self._ticks <= 0 or epoch != self._leases.epoch:
                    seen = self._leases.epoch
                    self._list_jobs()
                    epoch = seen
                    self._ticks = round(LIST_SECONDS / TAKE_SECONDS)
                if consumer is None:
                    self._broker.declare([SUBMISSIONS])
                    consumer = self._broker.consume([SUBMISSIONS])
                self._ticks -= 1
                self._take(consumer)
                if self._ticks % GLANCE_TICKS == 0:
                    self._offer_new()
                if self._ticks % ORPHAN_TICKS == 0:
                    self._take_over()
            except (BrokerError, StorageError) as error:
                log.warning("finding jobs: %s", error)
                stop.wait(TROUBLE_SECONDS)
        if consumer is not None:
            consumer.close()

    def over(self, job: str) -> None:
        """The job ended."""
        self._over.add(job)
        self._running.discard(job)

    def passed_over(self, job: str) -> None:
        """The job could not be led; the next listing finds it again."""
        self._passed_over.add(job)
        self._running.discard(job)

    def _take_over(self) -> None:
        for job in sorted(self._running):
            self._lead(job)

    def _take(self, consumer: Consumer) -> None:
        delivery = consumer.take(TAKE_SECONDS)
        if delivery is None:
            return
        try:
            job = decode(delivery.body, Submission).job
        except MessageUnreadable as error:
            log.warning("set aside a submission: %s", error)
            delivery.dead_letter()
            return
        self._over.discard(job)
        try:
            self._offer(job)
        except StorageError:
            self._ticks = 0  # list as soon as the store answers
            raise
        finally:
            delivery.ack()  # lost or late does no harm, and one that is kept would keep the next ones waiting

    def _list_jobs(self) -> None:
        self._passed_over.clear()
        self._offer_all(self._over)

    def _offer_new(self) -> None:
        """Only one aggregator takes a submission: the others must know the job before its leader dies."""
        self._offer_all(self._over | self._running | self._passed_over)

    def _offer_all(self, known: set[str]) -> None:
        for job in self._store.folders("jobs/"):
            if keys.is_name(job) and job not in known:
                self._offer(job)

    def _offer(self, job: str) -> None:
        """Lead the job unless it is over, or somebody does, or it is not wholly there yet."""
        try:
            if self._store.stat(keys.spec(job)) is None:
                return
            command = Record(self._store, job).control().command
        except (ObjectMissing, ObjectDamaged) as error:
            log.warning("passed over: %s", error, extra={"job": job})
            self._passed_over.add(job)
            return
        if command in ("run", "pause"):
            self._running.add(job)
            self._lead(job)
        else:
            self.over(job)
