"""Commands reach work in progress, and a round job that kills its trainers is given up with its reason."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from services.fleet import Fleet
from services.member import Member
from services.tasks import EXTENDING, write_job

from warren.broker.rabbit import RabbitBroker
from warren.broker.topology import DEAD_LETTERS, DELIVERY_LIMIT
from warren.storage import keys

pytestmark = pytest.mark.services
STOP_SECONDS = 15.0  # to notice a command (about two), and a batch; the machine may be busy
LONG: Mapping[str, Any] = {"train": {"lr": 0.1, "batch_size": 16, "epochs": 1000}}  # minutes of training


@pytest.fixture(scope="module")
def workers(fleet: Fleet) -> tuple[Member, Member]:
    """Two trainers, and an aggregator."""
    first, second = (fleet.add("trainer", name, start=False) for name in ("first", "second"))
    fleet.start(first, second, fleet.add("aggregator", "leader", start=False))
    return first, second


def states(fleet: Fleet) -> set[str]:
    return {one.fields["state"] for one in fleet.ledger.presences("trainer")}


def test_a_cancelled_job_stops_training_within_a_batch(
    fleet: Fleet, workers: tuple[Member, Member], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    job_file = write_job(tmp_path, gate=gate, **LONG)
    (gate / "slow").touch()
    job = fleet.submit(job_file)
    fleet.until(lambda: "training" in states(fleet), "round 1 trains")
    fleet.warren("job", "cancel", job, "--reason", "enough")
    fleet.until(lambda: states(fleet) == {"idle"}, "all trainers are idle", STOP_SECONDS)
    fleet.until(lambda: fleet.progress(job).get("state") == "cancelled", "the job says so")
    assert fleet.store.stat(keys.manifest(job, 1)) is None


def test_a_paused_job_stops_training_and_goes_on_from_its_round_when_resumed(
    fleet: Fleet, workers: tuple[Member, Member], expected: Callable[..., list[str]], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    some: dict[str, Any] = {"train": {"lr": 0.1, "batch_size": 16, "epochs": 40}}
    job_file = write_job(tmp_path, gate=gate, **some, **EXTENDING)
    (gate / "slow").touch()  # a round takes half a minute now
    job = fleet.submit(job_file)
    fleet.until((gate / "reached-c001").exists, "round 1 trains")
    fleet.warren("job", "pause", job)
    fleet.until(lambda: states(fleet) == {"idle"}, "all trainers are idle", STOP_SECONDS)
    fleet.until(lambda: fleet.progress(job).get("state") == "paused", "the job says so")
    assert fleet.store.stat(keys.manifest(job, 3)) is None
    (gate / "slow").unlink()
    fleet.warren("job", "resume", job)
    fleet.finished(job)
    watch = fleet.watch(job)
    watch.check(3)
    assert watch.digests(3) == expected(**some)


def test_a_round_job_that_kills_every_trainer_ends_in_the_dead_letters_and_its_client_counts_as_failed(
    fleet: Fleet, workers: tuple[Member, Member], tmp_path: Path
) -> None:
    job = fleet.submit(
        write_job(
            tmp_path,
            gate=tmp_path / "gate",
            data={"poison": "c001"},
            clients=3,
            quorum=2,
            rounds=1,
            deadline="10m",
            evaluate={"every": 0, "clients": 0},
        )
    )
    starts = sum(worker.starts for worker in workers)

    def done_with_trainers_started_again() -> bool:
        for worker in workers:
            if not worker.alive:
                worker.start()
        return fleet.command(job) == "done"

    fleet.until(done_with_trainers_started_again, "the job gives the client up and ends", 240)
    manifest = fleet.watch(job).check(1)[1]
    assert [entry.client for entry in manifest.entries] == ["c000", "c002"]
    assert "DeadLetter" in manifest.failed["c001"]
    assert f"more than {DELIVERY_LIMIT} deliveries" in manifest.failed["c001"]
    deaths = sum(worker.starts for worker in workers) - starts
    assert deaths >= 2 * (DELIVERY_LIMIT + 1), "a dead letter is tried once more"
    with contextlib.closing(RabbitBroker(fleet.url, name="looks")) as broker:
        fleet.until(lambda: broker.depth(DEAD_LETTERS) == (2, 0), "two dead letters")
