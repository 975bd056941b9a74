"""An asynchronous job as its documents tell it: who is out, what may go, what became of a letter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made.flow_desk import flow_spec

from warren.aggregator.collecting import outdated
from warren.aggregator.flow.standing import read_flow
from warren.aggregator.holding import most_held
from warren.aggregator.letters import fate, read_letter
from warren.aggregator.record import Record
from warren.aggregator.retention import waste
from warren.broker.messages import RoundJob, encode
from warren.storage import keys
from warren.storage.documents import Entry, Manifest, Plan, write_document
from warren.storage.folder import FolderStore
from warren.storage.job import JobSpec, write_spec

CLIENTS = ("c000", "c001", "c002", "c003")


class Flowing:
    """A fedbuff job (K = 2) of which three versions are made: c003 is out since version 0, c002 was lost in 2."""

    def __init__(self, folder: Path, **fields: Any) -> None:
        self.store = FolderStore(folder)
        self.spec: JobSpec = flow_spec("fedbuff", buffer=2, **fields)
        self.store.create(keys.spec("j"), write_spec(self.spec))
        self.version(0, {}, ("c000", 0, "first"))
        self.version(1, {}, ("c000", 1, "a"), ("c001", 1, "b"))
        self.version(2, {"c002": 0, "c003": 0}, ("c000", 2, "c"), ("c001", 2, "d"), silent=("c002",))
        self.version(3, {"c003": 0}, ("c000", 3, "e"), ("c002", 3, "f"))

    def version(self, number: int, bases: dict[str, int], *counted: tuple[str, int, str], silent: Any = ()) -> None:
        if number:
            plan = Plan(round=number, clients=CLIENTS, wanted=2, quorum=2, bases=bases)
            self.store.create(keys.plan("j", number, 0), write_document(plan))
        entries = tuple(self.update(client, r, attempt) for client, r, attempt in counted)
        manifest = Manifest(job="j", round=number, entries=entries, silent=dict.fromkeys(silent, "late"))
        self.store.create(keys.manifest("j", number), write_document(manifest))
        self.store.create(keys.checkpoint("j", number), b"model")

    def update(self, client: str, number: int, attempt: str) -> Entry:
        self.store.create(keys.update("j", number, "pool.default", client, attempt), b"update")
        facts: dict[str, Any] = {"source": "pool.default", "digest": "0" * 64, "size": 6, "examples": 1}
        return Entry(client=client, attempt=attempt, base=number - 1 if number else None, **facts)

    def flow(self, version: int = 4) -> dict[str, int]:
        found = read_flow(Record(self.store, "j"), self.spec, version)
        assert found.version == version
        return {client: ask.base for client, ask in found.out.items()}


def test_plans_less_manifests_say_who_is_out(tmp_path: Path) -> None:
    job = Flowing(tmp_path)
    assert job.flow(1) == dict.fromkeys(CLIENTS, 0)  # its own plan stands
    assert job.flow() == {"c003": 0, "c001": 2}  # not c002, which was lost in 2, asked anew for 3, and counted there
    plan = Plan(round=4, number=1, clients=("c000", "c003"), wanted=2, quorum=2, bases={"c003": 0})
    job.store.create(keys.plan("j", 4, 1), write_document(plan))
    assert job.flow() == {"c000": 3, "c003": 0}


def test_before_anybody_was_asked_nobody_is_out(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    assert read_flow(Record(store, "j"), flow_spec("ssp"), 1).out == {}


def test_what_may_still_count_and_where_it_starts_stays(tmp_path: Path) -> None:
    job = Flowing(tmp_path, keep_updates=1, keep_checkpoints="2", evaluate={"every": 0})
    job.update("c003", 1, "slow")  # may come into version 4
    job.update("c002", 1, "too-late")  # was given up in version 2
    job.update("c001", 3, "next")
    gone = {found.key for found in waste(job.store, job.spec)}
    updates = [("c000", 0, "first"), ("c000", 1, "a"), ("c001", 1, "b"), ("c000", 2, "c"), ("c001", 2, "d"),
               ("c002", 1, "too-late")]  # fmt: skip
    expected = {keys.update("j", r, "pool.default", client, attempt) for client, r, attempt in updates}
    assert gone == expected | {keys.checkpoint("j", 1)}  # 0 stays: c003 starts from it; 2 and 3 are the newest


def test_a_commit_takes_along_what_counted_in_the_version_that_is_no_longer_kept(tmp_path: Path) -> None:
    job = Flowing(tmp_path, keep_updates=1)
    gone = list(outdated(job.store, job.spec, 3))
    assert gone == [keys.update("j", 2, "pool.default", "c000", "c"), keys.update("j", 2, "pool.default", "c001", "d")]


@pytest.mark.parametrize(
    ("client", "number", "says"),
    [
        ("c003", 1, "round 1 is still open"),
        ("c002", 1, "c002 counted since, or was given up and asked anew"),
        ("c000", 3, "c000 counted since, or was given up and asked anew"),
    ],
)
def test_the_fate_of_a_letter_follows_from_who_is_out(tmp_path: Path, client: str, number: int, says: str) -> None:
    job = Flowing(tmp_path)
    order = RoundJob(job="j", round=number, kind="train", client=client, source="pool.default")
    assert fate(job.store, read_letter(Letter(encode(order)))) == says  # type: ignore[arg-type]


class Letter:
    """As much of a delivery as is read of it."""

    headers: dict[str, str] = {}

    def __init__(self, body: bytes) -> None:
        self.body = body


def test_the_most_that_a_flow_holds_covers_what_is_out_and_where_it_starts(tmp_path: Path) -> None:
    assert most_held(flow_spec("fedasync", rounds=1000, keep_updates=2)).updates == 1 * 4 + 4 + 1
    assert most_held(flow_spec("ssp", rounds=1000, keep_updates=0)).updates == 4 * 2 + 4 + 1
    kept = most_held(flow_spec("fedbuff", buffer=3, rounds=1000, keep_checkpoints="5")).checkpoints
    assert kept == 6 + 4 + 10 + 2
