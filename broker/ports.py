"""What every broker gives (RabbitMQ; in memory): queues, confirmed publishing, deliveries to settle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to publish: its queue, its bytes, and headers that name it even when the bytes can't be read."""

    queue: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Delivery(Protocol):
    """One message taken from a queue. Exactly one of the three verbs settles it; a second does nothing.

    Verbs may be called from any thread. After the connection that brought it was lost they do nothing:
    the broker delivers it again.
    """

    @property
    def queue(self) -> str: ...
    @property
    def body(self) -> bytes: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def deliveries_before(self) -> int:
        """How often it was delivered and not settled before this (the broker's count, 0 where it keeps none)."""
        ...

    def ack(self) -> None:
        """Done: the broker forgets it."""
        ...

    def requeue(self) -> None:
        """Hand it back unharmed, for another consumer."""
        ...

    def dead_letter(self) -> None:
        """Set it aside: it goes where the queue's dead letters go."""
        ...


class Consumer(Protocol):
    """Takes from one or several queues; an earlier queue's waiting messages come before a later one's."""

    def take(self, timeout_seconds: float) -> Delivery | None:
        """The next delivery, or None after the timeout. Waits on the broker, does not poll.

        Raises:
            BrokerRefused: the queue is gone or may not be read.
        """
        ...

    def allow(self, count: int) -> None:
        """From now on up to `count` unsettled messages of each queue, in place of the `prefetch` given.

        For who takes the next one while another is on its way out. A broker that sends ahead keeps to the
        `prefetch`, and is asked for each one more by `take`: no message waits here behind the work on another.
        """
        ...

    def close(self) -> None:
        """Stop taking; what was delivered and not settled goes back to its queue."""
        ...


class Broker(Protocol):
    """A connection that heals itself: calls block while it is down, up to their own bound."""

    def declare(self, queues: Sequence[str]) -> None:
        """Make the queues where they are missing, with the arguments that `topology` gives them."""
        ...

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish all; returns when the broker has confirmed each one.

        Raises:
            BrokerUnavailable: not all were confirmed in time; any of them may still arrive.
            BrokerRefused: a queue does not exist, or may not be written.
        """
        ...

    def consume(self, queues: Sequence[str], prefetch: int = 1) -> Consumer:
        """Start taking from these queues; `prefetch` unsettled messages of each at most."""
        ...

    def depth(self, queue: str) -> tuple[int, int] | None:
        """(messages ready, consumers) of a queue; None where there is no such queue."""
        ...

    def close(self) -> None: ...
