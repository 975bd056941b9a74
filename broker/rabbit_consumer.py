"""Taking from several RabbitMQ queues, the earlier first, and leaving to others what a busy consumer can't do."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence

from .errors import BrokerError, BrokerRefused, BrokerUnavailable
from .ports import Delivery
from .rabbit_link import CLOSE_SECONDS_MAX, Link, Session
from .rabbit_tap import WAKE_SECONDS_MAX, RabbitDelivery, Tap

BUSY_SECONDS = 0.25  # after it, the queues that are not worked on rest; short jobs don't pay for it
IDLE_SECONDS = 0.05  # without work, before later queues that rest are woken: the earlier ones come first

_log = logging.getLogger(__name__)


class RabbitConsumer:
    """Takes from several queues, the earlier ones first. Implements `ports.Consumer`.

    RabbitMQ sends up to `prefetch` of each queue ahead. While `prefetch` deliveries are being worked on, the
    other queues rest and what came from them goes back, once: so that an evaluation does not keep a training
    job from an idle trainer, nor the other way round.
    """

    def __init__(self, link: Link, name: str, queues: Sequence[str], prefetch: int) -> None:
        self.name, self.address = name, link.address
        self.closing = False
        self._link, self._prefetch = link, prefetch
        self._held: dict[str, deque[RabbitDelivery]] = {queue: deque() for queue in queues}
        self._taps = [Tap(self, queue, prefetch) for queue in self._held]
        self._changed = threading.Condition()
        self._refusal: BrokerRefused | None = None
        self._open: set[Tap] = set()
        self._out: set[RabbitDelivery] = set()  # handed out and not settled
        self._last = 0  # the place of the queue last taken from
        link.add(self)

    def take(self, timeout_seconds: float) -> Delivery | None:
        """The next delivery, or None after the timeout. A broken connection is waited out, up to the timeout.

        Raises:
            BrokerRefused: a queue is gone or may not be read, or the user may no longer connect. The consumer
                goes on trying in the background.
        """
        start = time.monotonic()
        with self._changed:
            while True:
                found, pause = self._look(time.monotonic() - start)
                if found is not None:
                    self._hand_out(found)
                    return found
                if self._refusal is not None:
                    raise BrokerRefused(str(self._refusal))
                remaining = start + timeout_seconds - time.monotonic()
                if remaining <= 0 or self.closing:
                    return None
                self._changed.wait(min(remaining, pause))

    def wait_until_flowing(self, seconds: float) -> None:
        """Return once every queue is being consumed.

        Raises:
            BrokerRefused, BrokerUnavailable: it did not come to that; the consumer is closed.
        """
        deadline = time.monotonic() + seconds
        try:
            with self._changed:
                while not all(tap.flowing for tap in self._taps):
                    if self._refusal is not None:
                        raise BrokerRefused(str(self._refusal))
                    if time.monotonic() >= deadline or self.closing:
                        raise BrokerUnavailable(f"{self.address}: consuming did not start in {seconds:.0f} s")
                    self._changed.wait(deadline - time.monotonic())
        except BrokerError:
            self.close()
            raise

    def allow(self, count: int) -> None:
        """Nothing: RabbitMQ sends ahead what it may, and a job that waits here is kept from an idle trainer."""

    def close(self) -> None:
        """Closing the channels hands back what is unsettled; waits for it at most CLOSE_SECONDS_MAX."""
        with self._changed:
            if self.closing:
                return
            self.closing = True
            self._changed.notify_all()
        self._link.remove(self)
        self._link.post(self._shut)
        with self._changed:
            self._changed.wait_for(lambda: not self._open, CLOSE_SECONDS_MAX)
            for held in self._held.values():
                held.clear()

    def _look(self, waited: float) -> tuple[RabbitDelivery | None, float]:
        """What to hand out now, or how long at most to wait before looking again. Under the lock."""
        now, pause = time.monotonic(), threading.TIMEOUT_MAX
        for place, tap in enumerate(self._taps):
            if held := self._held[tap.queue]:
                self._last = place
                return held.popleft(), 0.0
            if tap.resting:
                if place < self._last or waited >= IDLE_SECONDS:
                    self._link.post(tap.wake)
                    return None, WAKE_SECONDS_MAX
                pause = IDLE_SECONDS - waited
            elif now < tap.quiet_at:
                return None, tap.quiet_at - now
        return None, pause

    def _hand_out(self, delivery: RabbitDelivery) -> None:
        self._out.add(delivery)
        if len(self._taps) > 1 and len(self._out) >= self._prefetch:
            self._link.later(BUSY_SECONDS, lambda: self._rest(delivery))

    def _rest(self, delivery: RabbitDelivery) -> None:
        back: list[RabbitDelivery] = []
        with self._changed:
            if self.closing or delivery not in self._out or len(self._out) < self._prefetch:
                return
            for tap in self._taps:
                if tap.queue != delivery.queue:
                    tap.rest()
                    held = self._held[tap.queue]
                    back += [one for one in held if not one.deliveries_before]  # 3.10 counts each return
                    self._held[tap.queue] = deque(one for one in held if one.deliveries_before)
        for one in back:
            one.requeue()

    def _shut(self) -> None:
        for tap in self._taps:
            tap.shut()

    def up(self, session: Session) -> None:
        with self._changed:
            if self.closing:
                return
            self._refusal = None
            self._open = set(self._taps)
        for tap in self._taps:
            tap.open(session)

    def down(self, reason: BrokerError) -> None:
        with self._changed:
            for tap in self._taps:
                tap.lost()
                self._held[tap.queue].clear()  # the broker delivers them again
            self._open.clear()
            self._out.clear()
            self._refusal = reason if isinstance(reason, BrokerRefused) else None
            self._changed.notify_all()

    def hold(self, delivery: RabbitDelivery) -> None:
        with self._changed:
            self._held[delivery.queue].append(delivery)
            self._changed.notify_all()

    def settled(self, delivery: RabbitDelivery) -> None:
        with self._changed:
            self._out.discard(delivery)

    def tap_flows(self) -> None:
        with self._changed:
            if all(tap.flowing or tap.resting for tap in self._taps):
                self._refusal = None
            self._changed.notify_all()

    def tap_shut(self, tap: Tap) -> None:
        with self._changed:
            self._held[tap.queue].clear()
            self._out = {delivery for delivery in self._out if delivery.queue != tap.queue}
            self._open.discard(tap)
            self._changed.notify_all()

    def tap_failed(self, reason: BrokerError) -> None:
        _log.warning("%s; consuming again", reason)
        with self._changed:
            self._refusal = reason if isinstance(reason, BrokerRefused) else self._refusal
            self._changed.notify_all()
