"""Evaluations that the broker did not take are asked again, and not given up until their deadline."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from warren.aggregator.evaluation import SEND_AGAIN_SECONDS, Evaluations
from warren.aggregator.sending import Sending
from warren.broker.errors import BrokerUnavailable
from warren.broker.ports import Outgoing
from warren.storage.documents import Base
from warren.storage.job import make_spec

SPEC = make_spec({"job": "j", "task": {"name": "t", "file": "t.py", "digest": "0" * 64}, "clients": 2})


class DeafBroker:
    """Takes nothing while it is deaf."""

    def __init__(self) -> None:
        self.deaf = True
        self.tries = 0
        self.taken: list[Outgoing] = []

    def declare(self, queues: Sequence[str]) -> None:
        return

    def publish(self, messages: Sequence[Outgoing]) -> None:
        self.tries += 1
        if self.deaf:
            raise BrokerUnavailable("deaf")
        self.taken += messages


def evaluations(broker: DeafBroker) -> Evaluations:
    base = Base(key="k", digest="0" * 64, size=1)
    house: Any = SimpleNamespace(
        nonce="n",
        numbers=SimpleNamespace(base=lambda job, number: base),
        ledger=SimpleNamespace(start_deadline=lambda job, number, name, seconds: 100.0 + seconds),
    )
    return Evaluations(house, SPEC, Sending(broker))  # type: ignore[arg-type]


def test_what_the_broker_did_not_take_is_asked_again() -> None:
    broker = DeafBroker()
    asked = evaluations(broker)
    asked.begin(1)
    asked.tick(100.0)
    asked.tick(100.0 + SEND_AGAIN_SECONDS / 2)
    assert broker.tries == 2, "at once, and then not before its time"
    broker.deaf = False
    asked.tick(100.0 + SEND_AGAIN_SECONDS)
    assert len(broker.taken) == 3  # two clients, and the held-out data
    asked.tick(100.0 + 2 * SEND_AGAIN_SECONDS)
    assert len(broker.taken) == 3, "asked once"
