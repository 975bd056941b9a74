"""RabbitMQ as a process sees it: confirmed publishing, redelivery, a delivery limit, dead letters; no threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from simulation.kernel import Process, Waiters
from simulation.world import World

from warren.broker.errors import BrokerRefused, BrokerUnavailable
from warren.broker.ports import Outgoing
from warren.broker.topology import DELIVERY_LIMIT, ROUNDS_DEAD, SUBMISSIONS, arguments

DELAY_SECONDS = 15.0


@dataclass(slots=True, eq=False)
class Letter:
    body: bytes
    headers: Mapping[str, str]
    returns: int = 0


@dataclass(slots=True)
class Queue:
    ready: list[Letter] = field(default_factory=list)
    waiters: Waiters = field(default_factory=list)


class Exchange:
    """The broker itself."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.queues: dict[str, Queue] = {}
        self.consumers: list[FakeConsumer] = []
        world.on_break.append(self.lose_all)
        world.lost_connections = self.lose_process  # type: ignore[method-assign]

    @staticmethod
    def new_queue() -> Queue:
        return Queue()

    def append(self, queue: str, letter: Letter, place: int | None = None) -> None:
        there = self.queues[queue]
        there.ready.insert(len(there.ready) if place is None else place, letter)
        self.world.kernel.wake(there.waiters)

    def give_back(self, queue: str, letter: Letter) -> None:
        """Not settled: it is delivered again, first, until the limit is reached."""
        letter.returns += 1
        if "x-delivery-limit" in arguments(queue) and letter.returns > DELIVERY_LIMIT:
            self.bury(queue, letter)
        else:
            self.append(queue, letter, 0)

    def bury(self, queue: str, letter: Letter) -> None:
        self.world.kernel.note(f"dead letter from {queue} {letter.headers.get('client', '')}")
        if "x-dead-letter-routing-key" in arguments(queue):
            self.append(ROUNDS_DEAD, Letter(letter.body, letter.headers))

    def held(self) -> list[tuple[str, float]]:
        """Queue of each message that a consumer holds, and for how many seconds."""
        now = self.world.kernel.now
        return [(d.queue, now - d.taken_at) for consumer in self.consumers for d in consumer.unsettled]

    def lose_all(self) -> None:
        for consumer in self.consumers:
            consumer.disconnect()

    def lose_process(self, process: str) -> None:
        for consumer in self.consumers:
            if consumer.process.name == process:
                consumer.disconnect()

    def arrive(self, message: Outgoing) -> None:
        """One message, as the network brings it."""
        world, letter = self.world, Letter(message.body, dict(message.headers))
        if message.queue == SUBMISSIONS and world.hit("submission-lost"):
            return
        if world.hit("message-doubled"):
            self.append(message.queue, Letter(message.body, dict(message.headers)))
        if world.hit("message-delayed"):
            later = world.kernel.now + world.chance.random() * DELAY_SECONDS
            world.kernel.at(later, lambda: self.append(message.queue, letter))
        elif world.hit("message-reordered"):
            self.append(message.queue, letter, world.chance.randint(0, len(self.queues[message.queue].ready)))
        else:
            self.append(message.queue, letter)


class BrokerPort:
    """Implements `broker.ports.Broker` for one process."""

    def __init__(self, exchange: Exchange, process: Process) -> None:
        self._exchange = exchange
        self._process = process
        self._world = exchange.world
        self._kernel = exchange.world.kernel

    def declare(self, queues: Sequence[str]) -> None:
        self._ask("declare", queues[0] if queues else "")
        for name in queues:
            self._exchange.queues.setdefault(name, Queue())
        self._exchange.queues.setdefault(ROUNDS_DEAD, Queue())

    def publish(self, messages: Sequence[Outgoing]) -> None:
        self._ask("publish", " ".join(m.headers.get("client", m.queue) for m in messages))
        self._world.published(messages, self._kernel.current)
        unconfirmed = self._world.hit("publish-unconfirmed")
        for message in messages:
            if message.queue not in self._exchange.queues:
                raise BrokerRefused(f"queue {message.queue} does not exist")
            if not unconfirmed or self._world.chance.random() < 0.5:
                self._exchange.arrive(message)
        if unconfirmed:
            self._kernel.note("broker: not confirmed")
            raise BrokerUnavailable("not all messages were confirmed")

    def consume(self, queues: Sequence[str], prefetch: int = 1) -> FakeConsumer:
        self._ask("consume", queues[0])
        for name in queues:
            if name not in self._exchange.queues:
                raise BrokerRefused(f"queue {name} does not exist")
        consumer = FakeConsumer(self._exchange, self._process, tuple(queues), prefetch)
        self._exchange.consumers.append(consumer)
        self._process.on_end.append(consumer.leave)
        return consumer

    def depth(self, queue: str) -> tuple[int, int] | None:
        self._ask("depth", queue)
        found = self._exchange.queues.get(queue)
        return None if found is None else (len(found.ready), 0)

    def close(self) -> None:
        pass

    def _ask(self, verb: str, what: str) -> None:
        self._kernel.point(self._process, verb, what)
        if "broker" in self._world.down or self._world.hit("publish-refused"):
            self._kernel.note("broker: no answer")
            raise BrokerUnavailable("the broker does not answer")


class FakeConsumer:
    """Implements `broker.ports.Consumer`: it heals itself, and what it had not settled is delivered again."""

    def __init__(self, exchange: Exchange, process: Process, queues: tuple[str, ...], prefetch: int) -> None:
        self.process = process
        self.unsettled: list[FakeDelivery] = []
        self._exchange = exchange
        self._queues = queues
        self._prefetch = prefetch
        self._left = False

    def take(self, timeout_seconds: float) -> FakeDelivery | None:
        kernel, world = self._exchange.world.kernel, self._exchange.world
        until = kernel.now + timeout_seconds
        kernel.point(self.process, "take", self._queues[0])
        if world.hit("connection-lost"):
            self.disconnect()
        while True:
            delivery = None if "broker" in world.down else self._next()
            if delivery is not None:
                kernel.note(f"delivered {delivery.headers.get('client', '')} r{delivery.headers.get('round', '')}")
                return delivery
            if kernel.now >= until:
                return None
            kernel.block(until - kernel.now, *(self._exchange.queues[name].waiters for name in self._queues))

    def allow(self, count: int) -> None:
        self._prefetch = count

    def close(self) -> None:
        self._exchange.world.kernel.point(self.process, "close", self._queues[0])
        self.leave()

    def disconnect(self) -> None:
        """The connection is lost: the broker delivers again what was not settled."""
        lost, self.unsettled = self.unsettled, []
        for delivery in lost:
            self._exchange.give_back(delivery.queue, delivery.letter)

    def leave(self) -> None:
        if not self._left:
            self._left = True
            self.disconnect()
            self._exchange.consumers.remove(self)

    def _next(self) -> FakeDelivery | None:
        for name in self._queues:
            ready = self._exchange.queues[name].ready
            if ready and sum(d.queue == name for d in self.unsettled) < self._prefetch:
                delivery = FakeDelivery(self._exchange, self, name, ready.pop(0))
                self.unsettled.append(delivery)
                return delivery
        return None


class FakeDelivery:
    """Implements `broker.ports.Delivery`."""

    def __init__(self, exchange: Exchange, consumer: FakeConsumer, queue: str, letter: Letter) -> None:
        self.queue, self.letter = queue, letter
        self.body, self.headers, self.deliveries_before = letter.body, letter.headers, letter.returns
        self.taken_at = exchange.world.kernel.now
        self._exchange, self._consumer = exchange, consumer

    def ack(self) -> None:
        if self._settled("ack"):
            self._exchange.world.acked(self.letter, self.queue, self._consumer.process)

    def requeue(self) -> None:
        if self._settled("requeue"):
            self._exchange.give_back(self.queue, self.letter)

    def dead_letter(self) -> None:
        if self._settled("dead-letter"):
            self._exchange.bury(self.queue, self.letter)

    def _settled(self, verb: str) -> bool:
        world, consumer = self._exchange.world, self._consumer
        world.kernel.point(consumer.process, verb, self.headers.get("client", ""))
        if world.hit("connection-lost"):
            consumer.disconnect()
        if self not in consumer.unsettled:
            return False
        consumer.unsettled.remove(self)
        return True
