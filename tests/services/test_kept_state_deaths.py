"""SCAFFOLD on real servers: whoever dies between what a client keeps, its update and the commit, the bytes stay."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from services.fleet import Fleet
from services.member import Member
from services.tasks import EXTENDING, write_job

pytestmark = pytest.mark.services
LEASE_SECONDS = 3
SCAFFOLD: dict[str, Any] = {"strategy": {"name": "scaffold"}}

TRAINERS: list[tuple[str, Literal["request", "answer"]]] = [
    (r"/clients/c001/00002\.", "request"),  # trained, nothing kept yet
    (r"/clients/c001/00002\.", "answer"),  # kept, and the trainer does not know
    (r"/updates/.*/00002/.*/c001\.", "request"),  # kept, and no update
    (r"/updates/.*/00002/.*/c001\.", "answer"),  # both, and the aggregator does not know
]
AGGREGATORS: list[tuple[str, Literal["request", "answer"]]] = [
    (r"/rounds/00002\.json", "answer"),  # frozen: the states are in force, and the checkpoint is not there
    (r"/round-00002\.optimizer\.", "answer"),  # the mean control is there, the checkpoint not
    (r"/plans/00003\.00\.json", "request"),  # the next leader must know the states from the manifests
]


@pytest.fixture(scope="module")
def crew(fleet: Fleet) -> tuple[list[Member], Member]:
    """Two aggregators and one trainer."""
    pair = [fleet.add("aggregator", name, "--lease", f"{LEASE_SECONDS}s", start=False) for name in ("first", "second")]
    trainer = fleet.add("trainer", "worker", start=False)
    fleet.start(*pair, trainer)
    return pair, trainer


@pytest.mark.parametrize(("key", "what"), TRAINERS, ids=[f"{key[1:8]}-{what}" for key, what in TRAINERS])
def test_a_trainer_killed_around_what_its_client_keeps_leaves_no_trace(
    fleet: Fleet,
    crew: tuple[list[Member], Member],
    expected: Callable[..., list[str]],
    tmp_path: Path,
    key: str,
    what: Literal["request", "answer"],
) -> None:
    _, trainer = crew
    with trainer.gate.holding("PUT", key, what) as held:
        job = fleet.submit(write_job(tmp_path, **SCAFFOLD, **EXTENDING))
        fleet.until(held.reached.is_set, f"PUT {key}")
        trainer.kill()
    fleet.until(lambda: not trainer.orphans(), "the training process goes with its trainer", 30)
    fleet.start(trainer)
    _check(fleet, job, expected)


@pytest.mark.parametrize(("key", "what"), AGGREGATORS, ids=[f"{key[1:9]}-{what}" for key, what in AGGREGATORS])
def test_an_aggregator_killed_around_a_commit_is_followed_by_one_that_knows_the_states(
    fleet: Fleet,
    crew: tuple[list[Member], Member],
    expected: Callable[..., list[str]],
    tmp_path: Path,
    key: str,
    what: Literal["request", "answer"],
) -> None:
    pair, _ = crew
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(member.gate.holding("PUT", key, what)) for member in pair]
        job = fleet.submit(write_job(tmp_path, **SCAFFOLD, **EXTENDING))
        fleet.until(lambda: any(one.reached.is_set() for one in held), f"PUT {key}")
        leader = pair[held.index(next(one for one in held if one.reached.is_set()))]
        leader.kill()
    _check(fleet, job, expected)
    leader.start()
    fleet.until(lambda: fleet.present(leader), f"{leader.id} is there again")


def _check(fleet: Fleet, job: str, expected: Callable[..., list[str]]) -> None:
    watch = fleet.watch(job)
    fleet.finished(job, watch=watch)
    watch.check(3)
    assert watch.digests(3) == expected(**SCAFFOLD)
