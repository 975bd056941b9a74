"""Taking from RabbitMQ: a channel for each queue, made again whenever it is lost."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import BrokerError, BrokerRefused, BrokerUnavailable
from .ports import Delivery
from .rabbit_link import CLOSE_SECONDS_MAX, Link, Session, channel_failure

REOPEN_SECONDS_MIN, REOPEN_SECONDS_MAX = 0.1, 5.0
DELIVERIES_MAX = 1 << 31  # of the count in a header, which another publisher may have written

_log = logging.getLogger(__name__)


class RabbitDelivery:
    """One message, tied to the channel that brought it: when that is gone, its verbs do nothing."""

    def __init__(
        self, session: Session, channel: Any, tag: int, queue: str, body: bytes, headers: Mapping[str, Any]
    ):
        self.queue = queue
        self.body = body
        self.headers: Mapping[str, str] = {
            key: value for key, value in headers.items() if isinstance(value, str)
        }
        count = headers.get("x-delivery-count", 0)
        self.deliveries_before = count if isinstance(count, int) and 0 <= count < DELIVERIES_MAX else 0
        self._session, self._channel, self._tag = session, channel, tag
        self._unsettled = threading.Lock()  # taken by the first verb and never given back

    def ack(self) -> None:
        self._settle("basic_ack")

    def requeue(self) -> None:
        # RabbitMQ 4.3 does not count a nack towards the delivery limit; 3.10 counts nack and reject alike.
        self._settle("basic_nack", requeue=True)

    def dead_letter(self) -> None:
        self._settle("basic_reject", requeue=False)

    def _settle(self, verb: str, **options: bool) -> None:
        if not self._unsettled.acquire(blocking=False):
            return
        channel, tag = self._channel, self._tag
        self._session.post(lambda: channel.is_open and getattr(channel, verb)(tag, **options))


class _Tap:
    """One queue's channel. Everything here runs on the loop's thread."""

    def __init__(self, owner: RabbitConsumer, queue: str, prefetch: int) -> None:
        self.queue = queue
        self.flowing = False
        self._owner, self._prefetch = owner, prefetch
        self._session: Session | None = None
        self._channel: Any = None
        self._pause = REOPEN_SECONDS_MIN
        self._cancelled = False

    def open(self, session: Session) -> None:
        self._session, self._cancelled = session, False
        self._channel = session.connection.channel(on_open_callback=self._opened)
        self._channel.add_on_close_callback(self._closed)

    def shut(self) -> None:
        if self._channel is None or self._channel.is_closed:
            self._owner.tap_shut(self)
        elif not self._channel.is_closing:
            self._channel.close()

    def lost(self) -> None:
        """The connection is gone, and the channel with it."""
        self._session, self._channel, self.flowing = None, None, False

    def _opened(self, channel: Any) -> None:
        # A deleted queue cancels the consumer and leaves the channel open; so does 4.3's consumer timeout.
        channel.add_on_cancel_callback(lambda _: self._cancel())
        channel.basic_qos(prefetch_count=self._prefetch, callback=lambda _: self._consume(channel))

    def _cancel(self) -> None:
        self._cancelled = True
        self.shut()

    def _consume(self, channel: Any) -> None:
        if channel.is_open:
            tag = f"{self._owner.name}.{uuid.uuid4().hex[:8]}"
            channel.basic_consume(
                self.queue, self._message, consumer_tag=tag, callback=lambda _: self._flows()
            )

    def _flows(self) -> None:
        self.flowing, self._pause = True, REOPEN_SECONDS_MIN
        self._owner.tap_flows()

    def _message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        if self._session is not None:
            headers = properties.headers or {}
            self._owner.hold(
                RabbitDelivery(self._session, channel, method.delivery_tag, self.queue, body, headers)
            )

    def _closed(self, channel: Any, reason: BaseException) -> None:
        if channel is not self._channel:
            return
        self.flowing = False
        self._owner.tap_shut(self)
        session = self._session
        if session is None or self._owner.closing or session.connection.is_closed:
            return
        if self._cancelled:
            words = f"{self._owner.address}: RabbitMQ cancelled the consumer of {self.queue}"
            self._owner.tap_failed(BrokerUnavailable(words))
        else:
            self._owner.tap_failed(channel_failure(reason, self._owner.address))
        session.later(self._pause, lambda: self._reopen(session))
        self._pause = min(REOPEN_SECONDS_MAX, self._pause * 2)

    def _reopen(self, session: Session) -> None:
        if session is self._session and not self._owner.closing:
            self.open(session)


class RabbitConsumer:
    """Takes from several queues, the earlier ones first. Implements `ports.Consumer`."""

    def __init__(self, link: Link, name: str, queues: Sequence[str], prefetch: int) -> None:
        self.name, self.address = name, link.address
        self.closing = False
        self._link = link
        self._held: dict[str, deque[RabbitDelivery]] = {queue: deque() for queue in queues}
        self._taps = [_Tap(self, queue, prefetch) for queue in self._held]
        self._changed = threading.Condition()
        self._refusal: BrokerRefused | None = None
        self._open: set[_Tap] = set()
        link.add(self)

    def take(self, timeout_seconds: float) -> Delivery | None:
        """The next delivery, or None after the timeout. A broken connection is waited out, up to the timeout.

        Raises:
            BrokerRefused: a queue is gone or may not be read, or the user may no longer connect. The consumer
                goes on trying in the background.
        """
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            while True:
                waiting = next((held for held in self._held.values() if held), None)
                if waiting is not None:
                    return waiting.popleft()
                if self._refusal is not None:
                    raise BrokerRefused(str(self._refusal))
                remaining = deadline - time.monotonic()
                if remaining <= 0 or self.closing:
                    return None
                self._changed.wait(remaining)

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
            self._refusal = reason if isinstance(reason, BrokerRefused) else None
            self._changed.notify_all()

    def hold(self, delivery: RabbitDelivery) -> None:
        with self._changed:
            self._held[delivery.queue].append(delivery)
            self._changed.notify_all()

    def tap_flows(self) -> None:
        with self._changed:
            if all(tap.flowing for tap in self._taps):
                self._refusal = None
            self._changed.notify_all()

    def tap_shut(self, tap: _Tap) -> None:
        with self._changed:
            self._held[tap.queue].clear()
            self._open.discard(tap)
            self._changed.notify_all()

    def tap_failed(self, reason: BrokerError) -> None:
        _log.warning("%s; consuming again", reason)
        with self._changed:
            self._refusal = reason if isinstance(reason, BrokerRefused) else self._refusal
            self._changed.notify_all()
