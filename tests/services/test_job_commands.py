"""Commands on jobs and dead letters over real servers: fork, gc, rm, dead-letter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made.committed import CommittedJob
from services.fleet import Fleet
from services.tasks import write_job

from warren.broker.messages import RoundJob, encode
from warren.broker.ports import Outgoing
from warren.broker.rabbit import RabbitBroker
from warren.broker.topology import DEAD_LETTERS, SUBMISSIONS, rounds_queue
from warren.storage import keys
from warren.storage.job import read_spec

pytestmark = pytest.mark.services
SOURCE = "pool.default"


@pytest.fixture
def broker(fleet: Fleet) -> Iterator[RabbitBroker]:
    made = RabbitBroker(fleet.url, name="test")
    made.declare([SUBMISSIONS, rounds_queue(SOURCE), DEAD_LETTERS])
    yield made
    made.close()


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def park(broker: RabbitBroker, job: str, client: str, number: int) -> None:
    order = RoundJob(job=job, round=number, kind="train", client=client, source=SOURCE, publication=client)
    headers = {
        "job": job,
        "client": client,
        "round": str(number),
        "publication": client,
        "reason": "killed its trainers",
    }
    broker.publish([Outgoing(DEAD_LETTERS, encode(order), headers)])


def test_a_fork_is_submitted_and_can_be_removed(fleet: Fleet, broker: RabbitBroker, tmp_path: Path) -> None:
    job = CommittedJob(fleet.store, tmp_path, "forked-aaa111", rounds=2)
    job.end()
    before = (broker.depth(SUBMISSIONS) or (0, 0))[0]
    new = fleet.warren("job", "fork", job.job, "--at", "1", "--name", "again").strip()
    assert new.startswith("again-")
    assert broker.depth(SUBMISSIONS) == (before + 1, 0)
    assert read_spec(fleet.store.read(keys.spec(new))).rounds == 1
    assert fleet.store.read(keys.checkpoint(new, 0)) == fleet.store.read(keys.checkpoint(job.job, 1))
    assert [one["state"] for one in rows(fleet.warren("job", "verify", job.job, "--json"))] == ["same"] * 3
    fleet.warren("job", "rm", new, code=1)
    fleet.warren("job", "rm", new, "--force")
    assert list(fleet.store.list(keys.job_prefix(new))) == []


def test_what_is_not_needed_is_collected_from_the_bucket(fleet: Fleet, tmp_path: Path) -> None:
    job = CommittedJob(fleet.store, tmp_path, "collected-aaa111", rounds=3)
    listed = rows(fleet.warren("job", "gc", job.job, "--dry-run", "--json"))
    assert {keys.read_update(one["key"]).round for one in listed} == {0, 1}  # type: ignore[union-attr]
    assert "in 4 objects" in fleet.warren("job", "gc", job.job)
    assert rows(fleet.warren("job", "gc", job.job, "--dry-run", "--json")) == []
    assert len(list(fleet.store.list(keys.updates(job.job)))) == 6


def test_dead_letters_are_listed_shown_replayed_and_dropped(fleet: Fleet, broker: RabbitBroker, tmp_path: Path) -> None:
    job = CommittedJob(fleet.store, tmp_path, "letters-aaa111", rounds=2)
    for client, number in (("c000", 3), ("c001", 3), ("c002", 1)):
        park(broker, job.job, client, number)
    listed = {one["client"]: one for one in rows(fleet.warren("dead-letter", "list", "--json"))}
    assert sorted(listed) == ["c000", "c001", "c002"]
    assert "killed its trainers" in fleet.warren("dead-letter", "list")
    shown = fleet.warren("dead-letter", "show", listed["c002"]["letter"])
    assert "became    c002 counted in round 1 all the same" in shown
    waiting = (broker.depth(rounds_queue(SOURCE)) or (0, 0))[0]
    fleet.warren("dead-letter", "replay", listed["c000"]["letter"])
    assert broker.depth(rounds_queue(SOURCE)) == (waiting + 1, 0)
    (left, replayed) = sorted(
        rows(fleet.warren("dead-letter", "replay", "--all", "--json", code=1)), key=lambda r: r["event"]
    )
    assert (left["client"], left["event"]) == ("c002", "left")
    assert (replayed["client"], replayed["event"]) == ("c001", "replayed")
    fleet.warren("dead-letter", "drop", listed["c002"]["letter"][:5])
    assert rows(fleet.warren("dead-letter", "list", "--json")) == []
    fleet.warren("dead-letter", "drop", "nothing", code=1)
    fleet.warren("dead-letter", "drop", code=2)


def test_a_fork_and_a_rerun_run_on_the_servers_and_the_rerun_is_compared(fleet: Fleet, tmp_path: Path) -> None:
    fleet.add("aggregator", "a1")
    fleet.add("trainer", "t1")
    job = fleet.submit(write_job(tmp_path, rounds=2))
    fleet.finished(job)
    new = fleet.warren("job", "fork", job, "--at", "1").strip()
    fleet.finished(new)
    assert [one["state"] for one in rows(fleet.warren("job", "verify", new, "--json"))] == ["same", "same"]
    told = rows(fleet.warren("job", "rerun", job, "--follow", "--json"))
    assert told[0]["differs"] == {}
    assert told[-1] == {"event": "compared", "job": told[0]["job"], "of": job, "same": 3}
