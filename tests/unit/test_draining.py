"""Draining a trainer: asked over Redis, it stops; what was asked before it started does not count."""

from __future__ import annotations

import threading

import fakeredis
import pytest

from warren.cli import draining as module
from warren.cli.draining import draining
from warren.storage.ledger import RedisLedger
from warren.storage.ports import Presence

PATIENCE_SECONDS = 30


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> RedisLedger:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    return RedisLedger(fakeredis.FakeRedis())


def test_a_trainer_that_is_asked_to_stop_does(ledger: RedisLedger) -> None:
    stop = threading.Event()
    with draining(ledger, "t1", stop):
        ledger.ask_to_stop("t2", "ann@lab")
        assert not stop.wait(0.1)
        ledger.ask_to_stop("t1", "ann@lab")
        assert stop.wait(PATIENCE_SECONDS)
    assert ledger.asked_to_stop("t1") == "ann@lab"


def test_what_was_asked_before_its_start_does_not_count(ledger: RedisLedger) -> None:
    ledger.ask_to_stop("t1", "ann@lab")
    with draining(ledger, "t1", threading.Event()):
        assert ledger.asked_to_stop("t1") is None


def test_a_trainer_that_ends_is_listed_no_more(ledger: RedisLedger) -> None:
    ended = threading.Event()
    with draining(ledger, "t1", threading.Event()):
        ledger.announce(Presence("trainer", "t1", {"state": "idle"}), 60)
        assert [one.id for one in ledger.presences("trainer")] == ["t1"]
    for _ in range(1000):
        if not ledger.presences("trainer"):
            return
        ended.wait(0.01)
    raise AssertionError("it is listed still")
