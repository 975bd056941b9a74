"""An asynchronous job's aggregator is killed on real servers, between any two steps of a version: another goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from services.fleet import Fleet
from services.member import Member
from services.tasks import EXTENDING, write_job

from warren.aggregator.verifying import Verdict, Verifying
from warren.storage import keys
from warren.storage.job import read_spec

pytestmark = pytest.mark.services
LEASE_SECONDS = 3
ROUNDS = 6

STEPS: list[tuple[str, str, Literal["request", "answer"]]] = [
    ("PUT", r"/plans/00002\.00\.json", "answer"),  # who is out is written down, and nobody is asked
    ("PUT", r"/rounds/00002\.json", "answer"),  # frozen, and not written
    ("PUT", r"/checkpoints/round-00002\.", "answer"),  # written, and who counted not asked anew
]
EVEN: dict[str, Any] = {"update": "delta", "strategy": {"name": "fedavg", "weighting": "uniform"}}


@pytest.fixture(scope="module")
def pair(fleet: Fleet) -> tuple[Member, Member]:
    """Two aggregators, with two trainers to lead."""
    first, second = (
        fleet.add("aggregator", name, "--lease", f"{LEASE_SECONDS}s", start=False) for name in ("first", "second")
    )
    trainers = [fleet.add("trainer", name, start=False) for name in ("one", "other")]
    fleet.start(first, second, *trainers)
    return first, second


@pytest.mark.parametrize(("method", "key", "what"), STEPS, ids=[f"{k[2:8]}-{w}" for _, k, w in STEPS])
@pytest.mark.parametrize("schedule", [{"kind": "ssp"}, {"kind": "fedbuff", "buffer": 2}], ids=["ssp", "fedbuff"])
def test_an_asynchronous_job_goes_on_and_its_log_gives_the_bytes_again(
    fleet: Fleet,
    pair: tuple[Member, Member],
    expected: Callable[..., list[str]],
    tmp_path: Path,
    schedule: dict[str, Any],
    method: str,
    key: str,
    what: Literal["request", "answer"],
) -> None:
    fields: dict[str, Any] = {"rounds": ROUNDS, "keep_updates": ROUNDS + 1, "schedule": schedule}
    fields |= EXTENDING if schedule["kind"] == "ssp" else {}
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(member.gate.holding(method, key, what)) for member in pair]
        job = fleet.submit(write_job(tmp_path, **fields))
        fleet.until(lambda: any(one.reached.is_set() for one in held), f"{method} {key}")
        leader = pair[held.index(next(one for one in held if one.reached.is_set()))]
        leader.kill()
    leader.start()
    watch = fleet.watch(job)
    fleet.finished(job, watch=watch)
    fleet.until(lambda: fleet.present(leader), f"{leader.id} is there again")
    manifests = watch.check(ROUNDS)
    counted = [(entry.client, manifest.round_of(entry)) for manifest in manifests for entry in manifest.entries]
    assert len(set(counted)) == len(counted), "an update counted twice"
    spec = read_spec(fleet.store.read(keys.spec(job)))
    with Verifying(fleet.store, spec, tmp_path / "spool") as verifying:
        assert list(verifying.run()) == [Verdict(number, "same") for number in range(ROUNDS + 1)]
    if schedule["kind"] == "ssp":  # with a bound of 0 it waits for all, and comes to the bytes of uniform rounds
        assert watch.digests(ROUNDS) == expected(rounds=ROUNDS, **EVEN)
