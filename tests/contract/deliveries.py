"""Short words of the broker's suite: publish, take, wait for what must come."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from warren.broker.ports import Broker, Consumer, Delivery, Outgoing
from warren.broker.topology import ROUNDS_DEAD

ARRIVES_SECONDS = 20.0


def publish(broker: Broker, queue: str, *texts: str) -> None:
    broker.publish([Outgoing(queue, word.encode()) for word in texts])


def take(consumer: Consumer) -> Delivery:
    delivery = consumer.take(ARRIVES_SECONDS)
    assert delivery is not None, "nothing came"
    return delivery


def taken(consumer: Consumer) -> str:
    """The next message's text; acknowledged."""
    delivery = take(consumer)
    delivery.ack()
    return text(delivery)


def text(delivery: Delivery) -> str:
    return delivery.body.decode()


def the_dead(broker: Broker) -> Delivery:
    with contextlib.closing(broker.consume([ROUNDS_DEAD])) as consumer:
        dead = take(consumer)
        dead.ack()
        return dead


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + ARRIVES_SECONDS
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def run_all(*acts: Callable[[], None]) -> None:
    threads = [threading.Thread(target=act) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3 * ARRIVES_SECONDS)
        assert not thread.is_alive()
