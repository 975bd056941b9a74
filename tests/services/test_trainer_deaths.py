"""A trainer is killed at every step of its work: its client is trained again, counts once, and the bytes stay."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from services.fleet import Fleet
from services.member import Member
from services.tasks import EXTENDING, write_job

from warren.broker.messages import Completion, decode
from warren.trainer.bundle import SHORT_SECONDS

pytestmark = pytest.mark.services

UPLOAD = r"/updates/.*/00001/.*/.*c001\."  # by itself, or in a parcel

Reached = Callable[[], bool]
Moment = Callable[[Fleet, Member, Path, str], contextlib.AbstractContextManager[Reached]]


@pytest.fixture(scope="module")
def victim(fleet: Fleet) -> Member:
    """The only trainer of a fleet with one aggregator."""
    made = fleet.add("trainer", "victim", start=False)
    fleet.start(made, fleet.add("aggregator", "leader", start=False))
    return made


@contextlib.contextmanager
def training(fleet: Fleet, victim: Member, gate: Path, job: str) -> Iterator[Reached]:
    yield (gate / "reached-c001").exists


@contextlib.contextmanager
def uploading(fleet: Fleet, victim: Member, gate: Path, job: str) -> Iterator[Reached]:
    with victim.gate.holding("PUT", UPLOAD) as held:
        (gate / "hold-c001").unlink()
        yield held.reached.is_set


@contextlib.contextmanager
def uploading_and_training(fleet: Fleet, victim: Member, gate: Path, job: str) -> Iterator[Reached]:
    """One update is on its way while the next client trains."""
    (gate / "hold-c002").touch()
    reached = gate / "reached-c001"
    try:
        fleet.until(reached.exists, "c001 trains")
        fleet.until(lambda: time.time() - reached.stat().st_mtime > 2 * SHORT_SECONDS, "c001 took long")
        with victim.gate.holding("PUT", UPLOAD) as held:
            (gate / "hold-c001").unlink()
            yield lambda: held.reached.is_set() and (gate / "reached-c002").exists()
    finally:
        (gate / "hold-c002").unlink()


@contextlib.contextmanager
def uploaded(fleet: Fleet, victim: Member, gate: Path, job: str) -> Iterator[Reached]:
    """The update is in the store, and the trainer does not know."""
    with victim.gate.holding("PUT", UPLOAD, "answer") as held:
        (gate / "hold-c001").unlink()
        yield held.reached.is_set


@contextlib.contextmanager
def told(fleet: Fleet, victim: Member, gate: Path, job: str) -> Iterator[Reached]:
    """The completion is in Redis, and the round job is not acknowledged."""
    fleet.until((gate / "reached-c001").exists, "c001 trains")
    with victim.amqp.stalled():
        (gate / "hold-c001").unlink()
        yield lambda: "c001" in clients_told(fleet, job)


def clients_told(fleet: Fleet, job: str) -> set[str]:
    items = fleet.news.read(job, ["pool.default"], {}, 0.01)
    told = [decode(item.body, Completion) for item in items if item.source != "control"]
    return {one.client for one in told if one.round == 1 and one.kind == "train"}


@pytest.mark.parametrize("moment", [training, uploading, uploading_and_training, uploaded, told])
def test_a_trainer_killed_at_any_step_costs_nothing_but_time(
    fleet: Fleet, victim: Member, expected: Callable[..., list[str]], tmp_path: Path, moment: Moment
) -> None:
    gate = tmp_path / "gate"
    job_file = write_job(tmp_path, gate=gate, **EXTENDING)
    (gate / "hold-c001").touch()
    if moment is uploading_and_training:
        victim.terminate()
        fleet.start(victim)  # with no short works behind it, after which updates leave together
    job = fleet.submit(job_file)
    with moment(fleet, victim, gate, job) as reached:
        fleet.until(reached, f"the trainer is at: {moment.__name__}")
        victim.kill()
    (gate / "hold-c001").unlink(missing_ok=True)
    fleet.until(lambda: not victim.orphans(), "the training process goes with its trainer", 30)
    fleet.start(victim)
    watch = fleet.watch(job)
    fleet.finished(job, watch=watch)
    watch.check(3)
    assert watch.digests(3) == expected()


def test_a_trainer_that_is_told_to_end_hands_its_work_back(
    fleet: Fleet, victim: Member, expected: Callable[..., list[str]], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    job_file = write_job(tmp_path, gate=gate, **EXTENDING)
    (gate / "slow").touch()
    job = fleet.submit(job_file)
    fleet.until((gate / "reached-c001").exists, "c001 trains")
    assert victim.terminate() == 0
    (gate / "slow").unlink()
    fleet.start(victim)
    fleet.finished(job)
    watch = fleet.watch(job)
    assert not any(manifest.failed for manifest in watch.check(3))
    assert watch.digests(3) == expected()


def test_a_trainer_that_slept_finds_its_client_done_and_works_on(
    fleet: Fleet, victim: Member, expected: Callable[..., list[str]], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    job_file = write_job(tmp_path, gate=gate, **EXTENDING)
    (gate / "hold-c001").touch()
    job = fleet.submit(job_file)
    fleet.until((gate / "reached-c001").exists, "c001 trains")
    victim.sleep()
    other = fleet.add("trainer", "other")
    (gate / "hold-c001").unlink()
    watch = fleet.watch(job)
    fleet.finished(job, watch=watch)  # RabbitMQ gives the sleeper up, and the other has its client
    other.terminate()
    victim.wake()
    later = fleet.submit(write_job(tmp_path / "later", rounds=1))
    fleet.finished(later)
    watch.check(3)
    assert watch.digests(3) == expected()
