"""Between two rounds: what a leader begins early, and what it puts off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from warren.aggregator.events import Round, Rules
from warren.aggregator.glance import Glance
from warren.aggregator.patience import Patience
from warren.aggregator.ports import WhenAsked
from warren.aggregator.record import Record
from warren.aggregator.service import beside
from warren.aggregator.telling import TELL_SECONDS, Telling
from warren.storage.documents import Control
from warren.storage.errors import StorageUnavailable
from warren.storage.folder import FolderStore
from warren.storage.job import JobSpec, TaskRef

JOB = "lung-aaa111"
SPEC = JobSpec(job=JOB, task=TaskRef(name="t", file="t.py", digest="0" * 64), clients=3, rounds=3)
PAUSE = Control(command="pause", reason="lunch")


def patience() -> Patience:
    return Patience(threading.Event(), SimpleNamespace(held=True, epoch="1"), lambda words: None)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(FolderStore(tmp_path), JOB)


def a_glance(record: Record, begin: Any = WhenAsked) -> Glance:
    return Glance(SimpleNamespace(begin=begin), record, patience())  # type: ignore[arg-type]


def test_a_glance_that_was_not_begun_or_was_dropped_sees_what_stands_now(record: Record) -> None:
    glance = a_glance(record, at_once)
    assert glance().command == "run"
    glance.begin()
    record.command(PAUSE)
    glance.drop()
    assert glance().command == "pause"


def test_a_glance_serves_for_one_decision(record: Record) -> None:
    glance = a_glance(record, at_once)
    glance.begin()
    Record(record.store, JOB).command(PAUSE)
    assert glance().command == "run"  # as it was when it began
    assert glance().command == "pause"


def test_a_glance_that_the_store_failed_is_taken_again(record: Record) -> None:
    def fail() -> Any:
        raise StorageUnavailable("no answer")

    glance = a_glance(record, lambda call: fail)
    glance.begin()
    assert glance().command == "run"


def test_of_two_looks_at_a_time_the_later_command_stays(record: Record) -> None:
    Record(record.store, JOB).command(PAUSE)
    pool = ThreadPoolExecutor(2)
    looks = [beside(pool)(record.control) for _ in range(2)]
    assert {look().command for look in looks} == {"pause"}
    assert record.last_control.number == 1
    pool.shutdown()


def at_once(call: Callable[[], Any]) -> Callable[[], Any]:
    found = call()
    return lambda: found


class Ledger:
    def __init__(self) -> None:
        self.told: list[dict[str, str]] = []

    def set_progress(self, job: str, fields: Mapping[str, str]) -> None:
        self.told.append(dict(fields))


def round_with(*valid: str, phase: Any = "open") -> Round:
    rules = Rules(quorum=3, wanted=3, deadline_seconds=60.0, below_quorum="pause")
    return Round(1, frozenset(SPEC.client_names), rules, phase=phase, valid=dict.fromkeys(valid, "a"))


def test_counts_alone_are_told_a_few_times_a_second_and_decisions_at_once() -> None:
    ledger = Ledger()
    telling = Telling(SimpleNamespace(ledger=ledger, name="agg"), SPEC)  # type: ignore[arg-type]
    telling.round(round_with(), "asked 3 clients", 10.0)
    telling.round(round_with("c000"), "", 10.01)
    assert len(ledger.told) == 1
    telling.round(round_with("c000", "c001"), "", 10.0 + TELL_SECONDS)
    assert ledger.told[-1]["valid"] == "2"
    telling.round(round_with("c000", "c001", phase="paused"), "", 10.26)
    assert ledger.told[-1]["phase"] == "paused"
    telling.round(round_with("c000", "c001", phase="paused"), "paused: lunch", 10.27)
    assert ledger.told[-1]["reason"] == "paused: lunch"


def test_a_clock_that_was_set_back_does_not_silence_the_leader() -> None:
    ledger = Ledger()
    telling = Telling(SimpleNamespace(ledger=ledger, name="agg"), SPEC)  # type: ignore[arg-type]
    telling.round(round_with(), "", 1000.0)
    telling.round(round_with("c000"), "", 3.0)
    assert ledger.told[-1]["valid"] == "1"
