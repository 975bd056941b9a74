"""The broker in one process, for many threads: the same promises as RabbitMQ's, the same bytes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from .errors import BrokerRefused, BrokerUnavailable
from .messages import MESSAGE_BYTES_MAX
from .ports import Outgoing
from .topology import DEAD_LETTERS, ROUNDS_DEAD, arguments


@dataclass(frozen=True, slots=True)
class _Message:
    number: int  # place in its queue: a returned message takes it again
    body: bytes
    headers: Mapping[str, str]
    returns: int = 0


@dataclass(slots=True)
class _Queue:
    dead_letters: str | None
    limit: int | None
    ready: deque[_Message] = field(default_factory=deque)
    consumers: int = 0


class MemoryBroker:
    """Implements `ports.Broker`. A message returned more often than the delivery limit is dead-lettered.

    As on RabbitMQ 3.10, `requeue` counts towards the limit like a consumer that dies.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queues: dict[str, _Queue] = {}
        self._consumers: list[MemoryConsumer] = []
        self._number = 0
        self._closed = False
        self._waiting_for_room = 0  # takers whose own unsettled deliveries keep them from what is ready

    def declare(self, queues: Sequence[str]) -> None:
        with self._changed:
            self._check_open()
            for name in queues:
                options = arguments(name)
                target, limit = options.get("x-dead-letter-routing-key"), options.get("x-delivery-limit")
                self._queues.setdefault(
                    name,
                    _Queue(None if target is None else str(target), None if limit is None else int(limit)),
                )
                if target is not None:
                    self.declare([ROUNDS_DEAD, DEAD_LETTERS])

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish all that have a queue; then refuse, naming the queues that do not exist."""
        for message in messages:
            if len(message.body) > MESSAGE_BYTES_MAX:
                size = len(message.body)
                raise BrokerRefused(f"a message of {size} bytes to {message.queue} is over {MESSAGE_BYTES_MAX}")
        missing: dict[str, None] = {}
        with self._changed:
            self._check_open()
            for message in messages:
                if message.queue in self._queues:
                    self._append(message.queue, bytes(message.body), dict(message.headers))
                else:
                    missing[message.queue] = None
            self._changed.notify_all()
        if missing:
            raise BrokerRefused("; ".join(f"queue {name} does not exist" for name in list(missing)[:3]))

    def consume(self, queues: Sequence[str], prefetch: int = 1) -> MemoryConsumer:
        with self._changed:
            self._check_open()
            for name in queues:
                if name not in self._queues:
                    raise BrokerRefused(f"queue {name} does not exist")
            consumer = MemoryConsumer(self, tuple(dict.fromkeys(queues)), prefetch)
            self._consumers.append(consumer)
            for name in consumer.queues:
                self._queues[name].consumers += 1
        return consumer

    def depth(self, queue: str) -> tuple[int, int] | None:
        with self._changed:
            self._check_open()
            found = self._queues.get(queue)
            return None if found is None else (len(found.ready), found.consumers)

    def close(self) -> None:
        for consumer in list(self._consumers):
            consumer.close()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _check_open(self) -> None:
        if self._closed:
            raise BrokerUnavailable("the broker in memory was closed")

    def _append(self, queue: str, body: bytes, headers: Mapping[str, str]) -> None:
        self._number += 1
        self._queues[queue].ready.append(_Message(self._number, body, headers))

    def take(self, consumer: MemoryConsumer, timeout_seconds: float) -> MemoryDelivery | None:
        """For MemoryConsumer."""
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            while not consumer.closed:
                for name in consumer.queues:
                    ready = self._queues[name].ready
                    if ready and consumer.has_room(name):
                        delivery = MemoryDelivery(self, consumer, name, ready.popleft())
                        consumer.unsettled.append(delivery)
                        return delivery
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    break
                self._wait(consumer, remaining)
        return None

    def _wait(self, consumer: MemoryConsumer, seconds: float) -> None:
        full = any(self._queues[name].ready for name in consumer.queues)
        self._waiting_for_room += full
        self._changed.wait(seconds)
        self._waiting_for_room -= full

    def allow(self, consumer: MemoryConsumer, count: int) -> None:
        """For MemoryConsumer."""
        with self._changed:
            grown = count > consumer.prefetch
            consumer.prefetch = count
            if grown:
                self._changed.notify_all()

    def settle(self, delivery: MemoryDelivery, outcome: str) -> None:
        """For MemoryDelivery: "done", "return" or "reject"; the second time nothing."""
        with self._changed:
            unsettled = delivery.consumer.unsettled
            if delivery not in unsettled:
                return
            unsettled.remove(delivery)
            if outcome == "return":
                self._return(delivery)
            elif outcome == "reject":
                self._bury(delivery, "rejected")
            if (
                outcome != "done" or self._waiting_for_room
            ):  # waking who can't take anything costs as much as a short job
                self._changed.notify_all()

    def leave(self, consumer: MemoryConsumer) -> None:
        """For MemoryConsumer: hand back what is unsettled."""
        with self._changed:
            if consumer.closed:
                return
            consumer.closed = True
            self._consumers.remove(consumer)
            for name in consumer.queues:
                self._queues[name].consumers -= 1
            for delivery in reversed(consumer.unsettled):
                self._return(delivery)
            consumer.unsettled.clear()
            self._changed.notify_all()

    def _return(self, delivery: MemoryDelivery) -> None:
        queue, message = self._queues[delivery.queue], delivery.message
        if queue.limit is not None and message.returns >= queue.limit:
            self._bury(delivery, "delivery_limit")
            return
        again = replace(message, returns=message.returns + 1)
        place = next((at for at, other in enumerate(queue.ready) if other.number > again.number), len(queue.ready))
        queue.ready.insert(place, again)

    def _bury(self, delivery: MemoryDelivery, reason: str) -> None:
        target = self._queues[delivery.queue].dead_letters
        if target is None:
            return  # as on RabbitMQ: without a place for dead letters it is dropped
        headers = {
            "x-first-death-queue": delivery.queue,
            "x-first-death-reason": reason,
            **delivery.message.headers,
        }
        self._append(target, delivery.message.body, headers)


class MemoryDelivery:
    """Implements `ports.Delivery`."""

    def __init__(self, broker: MemoryBroker, consumer: MemoryConsumer, queue: str, message: _Message) -> None:
        self.queue, self.message, self.consumer = queue, message, consumer
        self._broker = broker

    @property
    def body(self) -> bytes:
        return self.message.body

    @property
    def headers(self) -> Mapping[str, str]:
        return self.message.headers

    @property
    def deliveries_before(self) -> int:
        return self.message.returns

    def ack(self) -> None:
        self._broker.settle(self, "done")

    def requeue(self) -> None:
        self._broker.settle(self, "return")

    def dead_letter(self) -> None:
        self._broker.settle(self, "reject")


class MemoryConsumer:
    """Implements `ports.Consumer`. Its fields are guarded by the broker's lock."""

    def __init__(self, broker: MemoryBroker, queues: tuple[str, ...], prefetch: int) -> None:
        self.queues = queues
        self.unsettled: list[MemoryDelivery] = []  # in the order taken
        self.closed = False
        self.prefetch = prefetch
        self._broker = broker

    def has_room(self, queue: str) -> bool:
        return sum(delivery.queue == queue for delivery in self.unsettled) < self.prefetch

    def allow(self, count: int) -> None:
        self._broker.allow(self, count)

    def take(self, timeout_seconds: float) -> MemoryDelivery | None:
        return self._broker.take(self, timeout_seconds)

    def close(self) -> None:
        self._broker.leave(self)
