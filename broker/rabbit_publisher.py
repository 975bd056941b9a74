"""Publishing to RabbitMQ with confirms: what is not confirmed is sent again, until its caller gives up."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import pika
from pika.exceptions import AMQPError

from .errors import BrokerError, BrokerRefused, BrokerUnavailable
from .messages import MESSAGE_BYTES_MAX
from .ports import Outgoing
from .rabbit_link import Link, Session, channel_failure

PUBLISH_SECONDS_MAX = 15.0  # without any confirm: then the caller hears of it
WINDOW = 1024  # messages sent and not confirmed: keeps memory bounded under an alarm
AGAIN_SECONDS = 0.2  # before a message that a queue rejected is sent again


class _Batch:
    """What one caller published: how many are open, and what went wrong. Guarded by `changed`."""

    def __init__(self, count: int) -> None:
        self.open = count
        self.given_up = False
        self.rejected = ""
        self.refusals: dict[str, BrokerRefused] = {}
        self.changed = threading.Condition()

    def settle(self, refusal: BrokerRefused | None = None, queue: str = "") -> None:
        with self.changed:
            self.open -= 1
            if refusal is not None:
                self.refusals[queue] = refusal
            if self.open == 0:
                self.changed.notify_all()


class _Item:
    __slots__ = ("batch", "message", "refusal")

    def __init__(self, message: Outgoing, batch: _Batch) -> None:
        self.message, self.batch = message, batch
        self.refusal: BrokerRefused | None = None


class Publisher:
    """Publishes for many threads over a connection of its own.

    RabbitMQ stops reading from a connection that publishes during an alarm: acks on it would wait too.
    """

    def __init__(self, link: Link, seconds: float) -> None:
        self._link, self._seconds = link, seconds
        self._waiting: deque[_Item] = deque()  # appended to by callers, under the lock
        self._lock = threading.Lock()
        self._blocked = False
        self._session: Session | None = None
        self._channel: Any = None  # set once it confirms; this and below: the loop's thread only
        self._unconfirmed: dict[int, _Item] = {}  # by delivery tag, in the order sent
        self._sent = 0
        link.add(self)

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Send all; returns when each is confirmed. Bounded by the time without progress.

        Raises:
            BrokerUnavailable: some were not confirmed; any of them may still arrive.
            BrokerRefused: a queue does not exist or may not be written; the others were published.
        """
        for message in messages:
            if len(message.body) > MESSAGE_BYTES_MAX:
                size = len(message.body)
                raise BrokerRefused(f"a message of {size} bytes to {message.queue} is over {MESSAGE_BYTES_MAX}")
        self._link.session(time.monotonic() + min(self._link.connect_seconds, self._seconds))
        batch = _Batch(len(messages))
        with self._lock:
            self._waiting.extend(_Item(message, batch) for message in messages)
        self._link.post(self._pump)
        self._await(batch)

    def _await(self, batch: _Batch) -> None:
        with batch.changed:
            while batch.open:
                before = batch.open
                if not batch.changed.wait_for(lambda: batch.open == 0, self._seconds) and batch.open == before:
                    self._give_up(batch)
                    raise self._unavailable(batch)
        if batch.refusals:
            raise BrokerRefused("; ".join(str(refusal) for refusal in list(batch.refusals.values())[:3]))

    def _give_up(self, batch: _Batch) -> None:
        """Forget what was not sent: under an alarm of an hour, callers that try again must not pile it up."""
        batch.given_up = True
        with self._lock:
            self._waiting = deque(item for item in self._waiting if item.batch is not batch)

    def _unavailable(self, batch: _Batch) -> BrokerError:
        if self._blocked:
            return BrokerUnavailable(f"{self._link.address}: RabbitMQ blocks publishers (memory or disk alarm)")
        if batch.rejected:
            return BrokerUnavailable(f"{self._link.address}: queue {batch.rejected} is full and rejects messages")
        try:
            self._link.session(0)
        except BrokerError as error:
            return error
        return BrokerUnavailable(f"{self._link.address} confirmed nothing in {self._seconds:.0f} s")

    def up(self, session: Session) -> None:
        self._session = session
        session.connection.add_on_connection_blocked_callback(lambda *_: self._set_blocked(True))
        session.connection.add_on_connection_unblocked_callback(lambda *_: self._set_blocked(False))
        self._open(session)

    def down(self, reason: BrokerError) -> None:
        self._session, self._blocked = None, False
        self._rewind()

    def _open(self, session: Session) -> None:
        if session is self._session:
            channel = session.connection.channel(on_open_callback=self._opened)
            channel.add_on_close_callback(lambda _, reason: self._closed(session, reason))

    def _opened(self, channel: Any) -> None:
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._confirmed, callback=lambda _: self._ready(channel))

    def _ready(self, channel: Any) -> None:
        self._channel = channel
        self._pump()

    def _closed(self, session: Session, reason: BaseException) -> None:
        error = channel_failure(reason, self._link.address)
        if isinstance(error, BrokerRefused):  # one of those in flight is at fault, and nothing says which
            for item in self._unconfirmed.values():
                item.batch.settle(error, item.message.queue)
            self._unconfirmed.clear()
        self._rewind()
        if not session.connection.is_closed:
            session.later(AGAIN_SECONDS, lambda: self._open(session))

    def _rewind(self) -> None:
        """What is not confirmed is sent again first, in its order."""
        self._channel, self._sent = None, 0
        with self._lock:
            self._waiting.extendleft(reversed(self._unconfirmed.values()))
        self._unconfirmed.clear()

    def _set_blocked(self, blocked: bool) -> None:
        self._blocked = blocked
        self._pump()

    def _pump(self) -> None:
        while self._channel is not None and not self._blocked and len(self._unconfirmed) < WINDOW:
            with self._lock:
                item = self._waiting.popleft() if self._waiting else None
            if item is None:
                return
            if not item.batch.given_up:
                self._send(item)

    def _send(self, item: _Item) -> None:
        tag = self._sent + 1
        try:
            self._channel.basic_publish(
                exchange="",
                routing_key=item.message.queue,
                body=item.message.body,
                properties=_properties(item.message, tag),
                mandatory=True,
            )
        except AMQPError:
            self._channel = None  # it is closing: `_closed` or `down` follows
            with self._lock:
                self._waiting.appendleft(item)
        except (ValueError, TypeError) as error:  # pika could not write it; nothing went out
            reason = f"a message to {item.message.queue[:80]!r} can't be written: {error}"[:300]
            item.batch.settle(BrokerRefused(reason), item.message.queue)
        else:
            self._sent = tag
            self._unconfirmed[tag] = item

    def _returned(self, _channel: Any, _method: Any, properties: Any, _body: bytes) -> None:
        """An unroutable message: it comes back just before its confirm."""
        item = self._unconfirmed.get(int(properties.message_id))
        if item is not None:
            queue = item.message.queue
            item.refusal = BrokerRefused(f"{self._link.address}: queue {queue} does not exist. Run `warren setup`.")

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        tags = [method.delivery_tag]
        if method.multiple:
            tags = [tag for tag in self._unconfirmed if tag <= method.delivery_tag]
        for tag in tags:
            item = self._unconfirmed.pop(tag, None)
            if item is None:
                continue
            if method.NAME == "Basic.Nack":
                self._again(item)
            else:
                item.batch.settle(item.refusal, item.message.queue)
        self._pump()

    def _again(self, item: _Item) -> None:
        item.batch.rejected = item.message.queue
        with self._lock:
            self._waiting.append(item)
        if self._session is not None:
            self._session.later(AGAIN_SECONDS, self._pump)


def _properties(message: Outgoing, tag: int) -> Any:
    """Persistent, with the tag as message id: a returned message names no delivery tag."""
    return pika.BasicProperties(
        content_type="application/msgpack",
        delivery_mode=2,
        message_id=str(tag),
        headers=dict(message.headers),
    )
