"""An aggregator is killed between any two steps of a commit, sleeps, or is told to end: another goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from services.fleet import Fleet
from services.gate import Held
from services.member import Member
from services.tasks import EXTENDING, write_job

pytestmark = pytest.mark.services
LEASE_SECONDS = 3
TAKEOVER_SECONDS = LEASE_SECONDS + 3 + 10  # a lease, the look of every two seconds, and a machine that is busy

STEPS: list[tuple[str, str, Literal["request", "answer"]]] = [
    ("GET", r"/updates/.*/00002/", "request"),  # folding
    ("PUT", r"/rounds/00002\.json", "request"),  # before the freeze
    ("PUT", r"/rounds/00002\.json", "answer"),  # after it
    ("PUT", r"/checkpoints/round-00002\.", "request"),  # before the write
    ("PUT", r"/checkpoints/round-00002\.", "answer"),  # after it
    ("PUT", r"/plans/00003\.00\.json", "request"),  # before the advance
    ("PUT", r"/plans/00003\.00\.json", "answer"),  # planned, and nobody asked yet
]


@pytest.fixture(scope="module")
def pair(fleet: Fleet) -> tuple[Member, Member]:
    """Two aggregators, with a trainer to lead."""
    first, second = (
        fleet.add("aggregator", name, "--lease", f"{LEASE_SECONDS}s", start=False) for name in ("first", "second")
    )
    fleet.start(first, second, fleet.add("trainer", "worker", start=False))
    return first, second


@pytest.mark.parametrize(("method", "key", "what"), STEPS, ids=[f"{m}-{k[2:9]}-{w}" for m, k, w in STEPS])
def test_an_aggregator_killed_between_two_steps_of_a_commit_is_followed_by_the_other(
    fleet: Fleet,
    pair: tuple[Member, Member],
    expected: Callable[..., list[str]],
    tmp_path: Path,
    method: str,
    key: str,
    what: Literal["request", "answer"],
) -> None:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(member.gate.holding(method, key, what)) for member in pair]
        job = fleet.submit(write_job(tmp_path, **EXTENDING))
        fleet.until(lambda: any(one.reached.is_set() for one in held), f"{method} {key}")
        leader = pair[held.index(next(one for one in held if one.reached.is_set()))]
        leader.kill()
    fleet.committed(job, 2, TAKEOVER_SECONDS)
    leader.start()  # while the other goes on: it is there again for the next test
    watch = fleet.watch(job)
    fleet.finished(job, watch=watch)
    fleet.until(lambda: fleet.present(leader), f"{leader.id} is there again")
    watch.check(3)
    assert watch.digests(3) == expected()


def test_an_aggregator_that_slept_through_its_lease_changes_nothing_when_it_wakes(
    fleet: Fleet, pair: tuple[Member, Member], expected: Callable[..., list[str]], tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(member.gate.holding("PUT", r"/rounds/00002\.json")) for member in pair]
        job = fleet.submit(write_job(tmp_path, **EXTENDING))
        leader = _leading(fleet, pair, held)
        leader.sleep()
    watch = fleet.watch(job)
    fleet.finished(job, watch=watch)
    leader.wake()  # its manifest of round 2 arrives now, and loses
    later = fleet.submit(write_job(tmp_path / "later", rounds=1))
    fleet.finished(later)
    fleet.until(lambda: fleet.present(leader), f"{leader.id} is there again")
    watch.check(3)
    assert watch.digests(3) == expected()


def test_an_aggregator_that_is_told_to_end_hands_its_jobs_over_without_waiting_for_the_lease(
    fleet: Fleet, pair: tuple[Member, Member], expected: Callable[..., list[str]], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    job_file = write_job(tmp_path, gate=gate, **EXTENDING)
    (gate / "hold-c001").touch()
    job = fleet.submit(job_file)
    fleet.until((gate / "reached-c001").exists, "round 1 is under way")
    leader = next(member for member in pair if fleet.progress(job).get("leader") == member.id)
    assert leader.terminate() == 0
    assert fleet.ledger.holder(job) != leader.id
    (gate / "hold-c001").unlink()
    watch = fleet.watch(job)
    fleet.finished(job, watch=watch)
    watch.check(3)
    assert watch.digests(3) == expected()
    fleet.start(leader)


def _leading(fleet: Fleet, pair: tuple[Member, Member], held: list[Held]) -> Member:
    fleet.until(lambda: any(one.reached.is_set() for one in held), "the leader is held at the gate")
    return pair[held.index(next(one for one in held if one.reached.is_set()))]
