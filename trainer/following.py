"""The round job after the one in the work: taken, prepared and handed over while that one is still being worked on.

So the process that trains goes on with it at once. Only where round jobs are so short that several leave together: what
takes longer is better left to whoever is idle.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from ..broker.errors import BrokerError, MessageUnreadable
from ..broker.ports import Consumer, Delivery
from .outbox import Outbox
from .ports import Bench
from .preparing import Preparing, Ready
from .wire import Work


class Following:
    """One trainer's; of what was taken for it, one at most waits for its turn."""

    def __init__(self, bench: Bench, preparing: Preparing, outbox: Outbox) -> None:
        self._bench = bench
        self._preparing = preparing
        self._outbox = outbox
        self._ready: Ready | None = None
        self._delivery: Delivery | None = None  # as it came: not of the same round, or to be worked on alone

    def wanted(self, ready: Ready) -> bool:
        """Whether to look for what follows this one."""
        return self._outbox.several and ready.delivery.deliveries_before == 0

    def look(self, ready: Ready, consumer: Consumer, output: Path) -> None:
        """Take what follows, if it is there, and have it begun after this one; its update goes to `output`."""
        delivery: Delivery | None = None
        with contextlib.suppress(BrokerError):  # the next `take` says it
            delivery = consumer.take(0.0)
        if delivery is None:
            return
        if delivery.deliveries_before or not self._alike(ready, delivery):
            self._delivery = delivery
            return
        self._ready = self._preparing.ready(delivery, output)
        if self._ready is not None and isinstance(self._ready.todo, Work):
            self._bench.training.begin(self._ready.todo)

    def take(self) -> Ready | None:
        """The one that is ready, if there is one."""
        ready, self._ready = self._ready, None
        return ready

    def delivery(self) -> Delivery | None:
        """The one that is still to be prepared, if there is one."""
        delivery, self._delivery = self._delivery, None
        return delivery

    def hand_back(self) -> None:
        """Give what was taken to others."""
        ready, delivery = self.take(), self.delivery()
        for left in (ready.delivery if ready else None, delivery):
            if left is not None:
                left.requeue()

    def _alike(self, ready: Ready, delivery: Delivery) -> bool:
        """Whether all that it needs is at hand: it is another client's part in the same round."""
        try:
            job = self._preparing.read(delivery)
        except MessageUnreadable:
            return False
        return (job.job, job.round, job.kind) == (ready.job.job, ready.job.round, ready.job.kind)
