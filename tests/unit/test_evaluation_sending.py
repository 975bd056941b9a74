"""Evaluations that can't be answered are not waited for until their deadline: sent again, or another's taken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from warren.aggregator.evaluation import LOOK_SECONDS, SEND_AGAIN_SECONDS, Evaluations
from warren.aggregator.sending import Sending
from warren.broker.errors import BrokerUnavailable
from warren.broker.ports import Outgoing
from warren.storage import keys
from warren.storage.documents import Base
from warren.storage.folder import FolderStore
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


def evaluations(broker: DeafBroker, store: FolderStore) -> Evaluations:
    base = Base(key="k", digest="0" * 64, size=1)
    house: Any = SimpleNamespace(
        nonce="n",
        store=store,
        numbers=SimpleNamespace(base=lambda job, number: base),
        ledger=SimpleNamespace(start_deadline=lambda job, number, name, seconds: 100.0 + seconds),
    )
    states: Any = SimpleNamespace(of=lambda client, round_number: None)  # no client keeps anything
    return Evaluations(house, SPEC, Sending(broker), states)  # type: ignore[arg-type]


def test_what_the_broker_did_not_take_is_asked_again(tmp_path: Path) -> None:
    broker = DeafBroker()
    asked = evaluations(broker, FolderStore(tmp_path))
    asked.begin(1)
    asked.tick(100.0)
    asked.tick(100.0 + SEND_AGAIN_SECONDS / 2)
    assert broker.tries == 2, "at once, and then not before its time"
    broker.deaf = False
    asked.tick(100.0 + SEND_AGAIN_SECONDS)
    assert len(broker.taken) == 3  # two clients, and the held-out data
    asked.tick(100.0 + 2 * SEND_AGAIN_SECONDS)
    assert len(broker.taken) == 3, "asked once"


def test_what_another_leader_froze_is_not_waited_for(tmp_path: Path) -> None:
    broker, store = DeafBroker(), FolderStore(tmp_path)
    broker.deaf = False
    asked = evaluations(broker, store)
    asked.begin(1)
    asked.begin(2)
    assert asked.tick(100.0) == []
    store.create(keys.evaluation("j", 1), b"{}")
    assert asked.tick(100.0 + LOOK_SECONDS / 2) == [], "not a listing each time"
    assert asked.tick(100.0 + LOOK_SECONDS) == [1]
    assert asked.open == 1
