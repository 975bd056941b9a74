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
ANSWER_SECONDS_MAX = 2.0  # that `take` waits, beyond its timeout, for the answer to a question for one more

_log = logging.getLogger(__name__)


class RabbitConsumer:
    """Takes from several queues, the earlier ones first. Implements `ports.Consumer`.

    RabbitMQ sends up to `prefetch` of each queue ahead. While `prefetch` deliveries are being worked on, the
    other queues rest and what came from them goes back, once: so that an evaluation does not keep a training
    job from an idle trainer, nor the other way round.

    Where more are allowed (`allow`), `take` asks for each one beyond the prefetch, and gets it or hears that there
    is none. RabbitMQ must not send one in place of another that was settled while the work on a third goes on: how
    it was settled is kept back until the next `take`, or, where that is long in coming, until the queue rests.
    """

    def __init__(self, link: Link, name: str, queues: Sequence[str], prefetch: int) -> None:
        self.name, self.address = name, link.address
        self.closing = False
        self._link, self._prefetch, self._allowed = link, prefetch, prefetch
        self._held: dict[str, deque[RabbitDelivery]] = {queue: deque() for queue in queues}
        self._taps = [Tap(self, queue, prefetch) for queue in self._held]
        self._tap_of = {tap.queue: tap for tap in self._taps}
        self._changed = threading.Condition()
        self._refusal: BrokerRefused | None = None
        self._open: set[Tap] = set()
        self._out: set[RabbitDelivery] = set()  # handed out and not settled
        self._kept_back: list[RabbitDelivery] = []  # settled, and RabbitMQ not told yet
        self._asked: Tap | None = None  # for one more
        self._takers = 0
        self._last = 0  # the place of the queue last taken from
        self._busy_from = 0.0  # when it was last taken from
        self._rested = False  # since the last `take`
        self._watched = False  # whether a look at how long it is busy will come
        link.add(self)

    def take(self, timeout_seconds: float) -> Delivery | None:
        """The next delivery, or None after the timeout. A broken connection is waited out, up to the timeout.

        Raises:
            BrokerRefused: a queue is gone or may not be read, or the user may no longer connect. The consumer
                goes on trying in the background.
        """
        with self._changed:
            self._rested = False
            self._send_kept_back()
            self._takers += 1
            try:
                return self._take(time.monotonic(), timeout_seconds)
            finally:
                self._takers -= 1

    def _take(self, start: float, timeout_seconds: float) -> Delivery | None:
        while True:
            found, pause = self._look(time.monotonic() - start)
            if found is not None:
                self._hand_out(found)
                return found
            if self._refusal is not None:
                raise BrokerRefused(str(self._refusal))
            remaining = start + timeout_seconds - time.monotonic()
            if self._asked is not None:
                remaining += ANSWER_SECONDS_MAX
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
        with self._changed:
            self._allowed = max(self._prefetch, count)

    def close(self) -> None:
        """Closing the channels hands back what is unsettled; waits for it at most CLOSE_SECONDS_MAX."""
        with self._changed:
            if self.closing:
                return
            self.closing = True
            self._send_kept_back()
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
        beside = self._prefetch <= len(self._out) < self._allowed
        for place, tap in enumerate(self._taps):
            if held := self._held[tap.queue]:
                self._last = place
                return held.popleft(), 0.0
            if beside and (tap.resting or self._full(tap)):
                if self._ask(tap, now):
                    return None, threading.TIMEOUT_MAX
                pause = min(pause, tap.ask_at - now)
            elif tap.resting:
                if place <= self._last or waited >= IDLE_SECONDS:
                    self._link.post(tap.wake)
                    return None, WAKE_SECONDS_MAX
                pause = min(pause, IDLE_SECONDS - waited)
            elif now < tap.quiet_at:
                return None, tap.quiet_at - now
        return None, pause

    def _full(self, tap: Tap) -> bool:
        """Whether RabbitMQ sends no more of this queue, because what it sent is not settled."""
        ours = (*self._out, *self._kept_back)
        return sum(one.queue == tap.queue and not one.asked_for for one in ours) >= self._prefetch

    def _ask(self, tap: Tap, now: float) -> bool:
        """Have RabbitMQ asked for one more; False where it had none just now."""
        if self._asked is None and now < tap.ask_at:
            return False
        if self._asked is None:
            self._asked = tap
            self._link.post(tap.ask)
        return True

    def _ask_ahead(self, taken: RabbitDelivery) -> None:
        """Where several are worked on, which are short, the next one comes while this one is worked on."""
        if self._several and len(self._out) < self._allowed and not self._held[taken.queue]:
            tap = self._tap_of[taken.queue]
            if tap.resting or self._full(tap):
                self._ask(tap, self._busy_from)

    @property
    def _several(self) -> bool:
        """Whether more than one beside what is sent ahead may be in hand: they are short."""
        return self._prefetch + 1 < self._allowed

    def _hand_out(self, delivery: RabbitDelivery) -> None:
        self._out.add(delivery)
        self._busy_from = time.monotonic()
        self._ask_ahead(delivery)
        if (len(self._taps) > 1 or self._asked is not None) and len(self._out) >= self._prefetch:
            self._watch()

    def _watch(self) -> None:
        if not self._watched:
            self._watched = True
            self._link.later(BUSY_SECONDS, self._look_whether_busy)

    def _look_whether_busy(self) -> None:
        """On the loop's thread: let queues rest once the same work has gone on for `BUSY_SECONDS`."""
        with self._changed:
            self._watched = False
            if self.closing or len(self._out) < self._prefetch:
                return
            left = self._busy_from + BUSY_SECONDS - time.monotonic()
            if left > 0:
                self._watched = True
                self._link.later(left, self._look_whether_busy)
                return
            back = self._rest()
        for one in back:
            one.requeue()

    def _rest(self) -> list[RabbitDelivery]:
        """Let the queues rest that could bring more; what came from them and goes back."""
        back: list[RabbitDelivery] = []
        owing = {one.queue for one in self._kept_back}
        self._rested = True
        for tap in self._taps:
            if tap.queue in owing or not self._full(tap):
                tap.rest()
            held = self._held[tap.queue]
            back += [one for one in held if not one.deliveries_before]  # 3.10 counts each return
            self._held[tap.queue] = deque(one for one in held if one.deliveries_before)
        self._send_kept_back()
        return back

    def _send_kept_back(self) -> None:
        while self._kept_back:
            self._kept_back.pop(0).send()

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
            self._kept_back.clear()
            self._asked, self._watched = None, False
            self._refusal = reason if isinstance(reason, BrokerRefused) else None
            self._changed.notify_all()

    def hold(self, delivery: RabbitDelivery) -> None:
        with self._changed:
            if delivery.asked_for:
                self._asked = None
            elif self._several:
                self._tap_of[delivery.queue].ask_at = 0.0  # where one came, there may be more
            if delivery.asked_for and self._rested and not self._takers and not delivery.deliveries_before:
                delivery.requeue()  # it was long in coming
            else:
                self._held[delivery.queue].append(delivery)
            self._changed.notify_all()

    def nothing_more(self, tap: Tap) -> None:
        with self._changed:
            self._asked = None
            if self._takers:
                self._send_kept_back()
            self._changed.notify_all()

    def settle(self, delivery: RabbitDelivery) -> None:
        """Tell RabbitMQ how it was settled, unless what that might bring had to wait behind the work in hand."""
        with self._changed:
            handed_out = delivery in self._out
            self._out.discard(delivery)
            busy = len(self._out) >= self._prefetch and not self._waited_for
            if handed_out and busy and not delivery.asked_for:
                self._kept_back.append(delivery)
                self._watch()
                return
            delivery.send()
            if not self._out:
                self._send_kept_back()
            self._changed.notify_all()

    @property
    def _waited_for(self) -> bool:
        """Whether the next one would be taken at once."""
        return self._takers > 0 and self._asked is None and not any(self._held.values())

    def tap_flows(self) -> None:
        with self._changed:
            if all(tap.flowing or tap.resting for tap in self._taps):
                self._refusal = None
            self._changed.notify_all()

    def tap_shut(self, tap: Tap) -> None:
        with self._changed:
            self._held[tap.queue].clear()
            self._out = {delivery for delivery in self._out if delivery.queue != tap.queue}
            self._kept_back = [delivery for delivery in self._kept_back if delivery.queue != tap.queue]
            self._asked = None if self._asked is tap else self._asked
            self._open.discard(tap)
            self._changed.notify_all()

    def tap_failed(self, reason: BrokerError) -> None:
        _log.warning("%s; consuming again", reason)
        with self._changed:
            self._refusal = reason if isinstance(reason, BrokerRefused) else self._refusal
            self._changed.notify_all()
