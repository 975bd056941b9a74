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
        self._ticks = 0

    def run(self, stop: Stop) -> None:
        """Until told to stop. Listing goes on without the broker, and submissions without the store."""
        consumer: Consumer | None = None
        epoch = None
        while not stop.is_set():
            try:
                if self._ticks <= 0 or epoch != self._leases.epoch:
                    epoch = self._leases.epoch
                    self._list_jobs()
                    self._ticks = round(LIST_SECONDS / TAKE_SECONDS)
                if consumer is None:
                    self._broker.declare([SUBMISSIONS])
                    consumer = self._broker.consume([SUBMISSIONS])
                self._ticks -= 1
                self._take(consumer)
            except (BrokerError, StorageError) as error:
                log.warning("finding jobs: %s", error)
                stop.wait(TROUBLE_SECONDS)
        if consumer is not None:
            consumer.close()

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
        self._offer(job)
        delivery.ack()  # lost or late does no harm: the listing finds the job too

    def _list_jobs(self) -> None:
        for job in self._store.folders("jobs/"):
            if keys.is_name(job) and job not in self._over:
                self._offer(job)

    def _offer(self, job: str) -> None:
        """Lead the job unless it is over, or somebody does."""
        try:
            command = Record(self._store, job).control().command
        except (ObjectMissing, ObjectDamaged) as error:
            log.warning("passed over: %s", error, extra={"job": job})
            return
        if command in ("run", "pause"):
            self._lead(job)
        else:
            self._over.add(job)
