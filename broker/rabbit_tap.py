"""One queue's channel of a consumer: opened again whenever it is lost, resting while the consumer is busy."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any, Protocol

from pika.spec import Basic

from .errors import BrokerError, BrokerUnavailable
from .rabbit_link import Session, channel_failure

REOPEN_SECONDS_MIN, REOPEN_SECONDS_MAX = 0.1, 5.0
WAKE_SECONDS_MAX = 2.0  # a queue that does not come back is not waited for
ASK_AGAIN_SECONDS = 0.5  # after a queue had no more; each question is an entry in its log
QUIET_SECONDS = 0.02  # RabbitMQ sends what waits just after it confirmed the consumer
DELIVERIES_MAX = 1 << 31  # of the count in a header, which another publisher may have written


class Owner(Protocol):
    """What a tap tells its consumer."""

    name: str
    address: str
    closing: bool

    def hold(self, delivery: RabbitDelivery) -> None: ...
    def nothing_more(self, tap: Tap) -> None: ...
    def settle(self, delivery: RabbitDelivery) -> None: ...
    def tap_flows(self) -> None: ...
    def tap_shut(self, tap: Tap) -> None: ...
    def tap_failed(self, reason: BrokerError) -> None: ...


class RabbitDelivery:
    """One message, tied to the channel that brought it: when that is gone, its verbs do nothing."""

    def __init__(
        self,
        owner: Owner,
        session: Session,
        channel: Any,
        tag: int,
        message: tuple[str, bytes, Any],
        *,
        asked_for: bool = False,
    ):
        self.queue, self.body, headers = message
        self.headers, self.deliveries_before = _read(headers or {})
        self.asked_for = asked_for  # by a pull: RabbitMQ does not count it as sent ahead
        self._owner, self._session, self._channel, self._tag = owner, session, channel, tag
        self._verb = ""
        self._options: dict[str, bool] = {}
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
        self._verb, self._options = verb, options
        self._owner.settle(self)

    def send(self) -> None:
        """Let RabbitMQ know how it was settled. The owner says when: it may answer with the next message."""
        self._session.post(self._send)

    def _send(self) -> None:
        if self._channel.is_open:
            getattr(self._channel, self._verb)(self._tag, **self._options)


class Tap:
    """All but the reading of its fields happens on the loop's thread."""

    def __init__(self, owner: Owner, queue: str, prefetch: int) -> None:
        self.queue = queue
        self.flowing = False
        self.resting = False
        self.quiet_at = 0.0  # from then on, what waited in the queue has had time to come
        self.ask_at = 0.0  # from then on, one more may be asked for again
        self._owner, self._prefetch = owner, prefetch
        self._session: Session | None = None
        self._channel: Any = None
        self._tag = ""
        self._pause = REOPEN_SECONDS_MIN
        self._cancelled = False

    def open(self, session: Session) -> None:
        self._session, self._cancelled, self.resting = session, False, False
        self._channel = session.connection.channel(on_open_callback=self._opened)
        self._channel.add_on_close_callback(self._closed)

    def shut(self) -> None:
        if self._channel is None or self._channel.is_closed:
            self._owner.tap_shut(self)
        elif not self._channel.is_closing:
            self._channel.close()

    def lost(self) -> None:
        """The connection is gone, and the channel with it."""
        self._session, self._channel, self.flowing, self.resting = None, None, False, False

    def rest(self) -> None:
        """Take no more for now: what came and is not settled stays ours."""
        if self.flowing and self._channel.is_open:
            self.flowing, self.resting = False, True
            self._channel.basic_cancel(self._tag, callback=lambda _: None)

    def wake(self) -> None:
        if self.resting and self._channel.is_open:
            self.resting = False
            self.quiet_at = time.monotonic() + WAKE_SECONDS_MAX
            self._consume(self._channel)

    def ask(self) -> None:
        """Ask for one more than is sent ahead. The answer is `hold`, or `nothing_more`, or that the channel closed."""
        if self._channel is not None and self._channel.is_open:
            self._channel.basic_get(self.queue, self._given)
        else:
            self._nothing()

    def _nothing(self) -> None:
        self.ask_at = time.monotonic() + ASK_AGAIN_SECONDS
        self._owner.nothing_more(self)

    def _opened(self, channel: Any) -> None:
        channel.add_callback(lambda _: self._nothing(), [Basic.GetEmpty], one_shot=False)
        # A deleted queue cancels the consumer and leaves the channel open; so does 4.3's consumer timeout.
        channel.add_on_cancel_callback(lambda _: self._cancel())
        channel.basic_qos(prefetch_count=self._prefetch, callback=lambda _: self._consume(channel))

    def _cancel(self) -> None:
        self._cancelled = True
        self.shut()

    def _consume(self, channel: Any) -> None:
        if channel.is_open:
            self._tag = f"{self._owner.name}.{uuid.uuid4().hex[:8]}"
            channel.basic_consume(self.queue, self._message, consumer_tag=self._tag, callback=lambda _: self._flows())

    def _flows(self) -> None:
        self.flowing, self._pause = True, REOPEN_SECONDS_MIN
        self.quiet_at = time.monotonic() + QUIET_SECONDS
        self._owner.tap_flows()

    def _message(self, channel: Any, method: Any, properties: Any, body: bytes, *, asked_for: bool = False) -> None:
        if self._session is not None:
            message = (self.queue, body, properties.headers)
            tag = method.delivery_tag
            self._owner.hold(RabbitDelivery(self._owner, self._session, channel, tag, message, asked_for=asked_for))

    def _given(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self._message(channel, method, properties, body, asked_for=True)

    def _closed(self, channel: Any, reason: BaseException) -> None:
        if channel is not self._channel:
            return
        self.flowing = self.resting = False
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


def _read(headers: Mapping[str, Any]) -> tuple[Mapping[str, str], int]:
    """The headers that are text, and the broker's count of returns."""
    count = headers.get("x-delivery-count", 0)
    before = count if isinstance(count, int) and 0 <= count < DELIVERIES_MAX else 0
    return {key: value for key, value in headers.items() if isinstance(value, str)}, before
