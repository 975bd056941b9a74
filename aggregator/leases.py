"""The leases of one aggregator, kept up by a thread of their own: leading waits for folds, a lease must not."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from ..storage.errors import StorageError
from ..storage.ports import Ledger, Presence
from .ports import Stop

RENEWALS_PER_LEASE = 3
PRESENCE_LEASES = 2  # how many lease times an aggregator counts as present without a word

log = logging.getLogger("warren.aggregator")


@dataclass(slots=True)
class Lease:
    """The hold on one job. Held until the ledger says otherwise: a silent Redis takes no job away."""

    job: str
    epoch: str
    held: bool = True


class Leases:
    """Takes, renews and gives back leases. Leases order the work; safety rests on the store alone."""

    def __init__(self, ledger: Ledger, nonce: str, name: str, seconds: float, facts: Mapping[str, str]) -> None:
        self._ledger = ledger
        self._nonce = nonce
        self._name = name
        self._seconds = seconds
        self._facts = facts
        self._held: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self.epoch = ""

    def take(self, job: str) -> Lease | None:
        """The lease of a job nobody else leads; None where somebody does, or where it is ours already."""
        with self._lock:
            if job in self._held:
                return None
        if not self.epoch:
            self.epoch = self._ledger.renew([], self._nonce, self._seconds).epoch
        if not self._ledger.acquire(job, self._nonce, self._seconds):
            return None
        with self._lock:
            return self._held.setdefault(job, Lease(job, self.epoch))

    def give_back(self, lease: Lease) -> None:
        """The job is over, or another shall have it now."""
        lease.held = False
        with self._lock:
            self._held.pop(lease.job, None)
        try:
            self._ledger.release(lease.job, self._nonce)
        except StorageError as error:
            log.info("lease not given back, it runs out by itself: %s", error, extra={"job": lease.job})

    def keep_up(self, stop: Stop) -> None:
        """Renew all leases, and say that this aggregator is there, until told to stop."""
        while not stop.is_set():
            try:
                self.renew()
            except StorageError as error:
                log.warning("leases not renewed: %s", error)
            stop.wait(self._seconds / RENEWALS_PER_LEASE)

    def renew(self) -> None:
        """One round of renewing. A lease that ran out or was wiped is taken again if nobody else has."""
        with self._lock:
            held = dict(self._held)
        pulse = self._ledger.renew(sorted(held), self._nonce, self._seconds)
        for job, lease in held.items():
            if job not in pulse.held and not self._ledger.acquire(job, self._nonce, self._seconds):
                log.warning("another aggregator leads now", extra={"job": job})
                self._drop(lease)
            lease.epoch = pulse.epoch
        self.epoch = pulse.epoch
        facts = {**self._facts, "jobs": str(len(held))}
        self._ledger.announce(Presence("aggregator", self._name, facts), self._seconds * PRESENCE_LEASES)

    def _drop(self, lease: Lease) -> None:
        lease.held = False
        with self._lock:
            self._held.pop(lease.job, None)
