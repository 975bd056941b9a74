"""Sending round jobs: what is declared once, and what mends a queue that vanished."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from warren.aggregator.sending import Sending
from warren.broker.errors import BrokerRefused
from warren.broker.memory import MemoryBroker
from warren.broker.ports import Outgoing

QUEUE = "rounds.v1.pool.default"


class Counting(MemoryBroker):
    def __init__(self) -> None:
        super().__init__()
        self.declared: list[str] = []

    def declare(self, queues: Sequence[str]) -> None:
        self.declared += queues
        super().declare(queues)


def test_a_queue_is_declared_once_however_many_rounds_follow() -> None:
    broker = Counting()
    send = Sending(broker)
    for body in (b"1", b"2", b"3"):
        send([Outgoing(QUEUE, body)])
    assert broker.declared.count(QUEUE) == 1
    assert broker.depth(QUEUE) == (3, 0)


def test_a_queue_that_was_deleted_is_made_again_by_the_next_try() -> None:
    broker = Counting()
    send = Sending(broker)
    send([Outgoing(QUEUE, b"1")])
    broker._queues.clear()  # as a wiped server
    with pytest.raises(BrokerRefused):
        send([Outgoing(QUEUE, b"2")])
    send([Outgoing(QUEUE, b"2")])
    assert broker.depth(QUEUE) == (1, 0)
