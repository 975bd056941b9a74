"""The next round's plan is written beside its checkpoint; what stands of both is what the round goes by."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from warren.aggregator.glance import Glance
from warren.aggregator.patience import Patience
from warren.aggregator.planning import Planning
from warren.aggregator.record import Record
from warren.storage import keys
from warren.storage.documents import Base, Manifest
from warren.storage.errors import StorageUnavailable
from warren.storage.folder import FolderStore
from warren.storage.job import make_spec

JOB = "lung-aaa111"
TASK = {"name": "t", "file": "t.py", "digest": "0" * 64}
COMMITTED = Manifest(job=JOB, round=1, base=None, entries=(), reason="all", versions={})


def base(digest: str) -> Base:
    return Base(key=keys.checkpoint(JOB, 1), digest=digest * 64, size=7)


class Job:
    """Round 1 is frozen; `made` is what we would write, `stands` what is in the store in the end."""

    def __init__(self, folder: Path, made: Base | None, stands: Base, **fields: Any) -> None:
        self.spec = make_spec({"job": JOB, "task": TASK, "clients": 3, "rounds": 3, **fields})
        self.record = Record(FolderStore(folder), JOB)
        self.begun = 0
        self.failing = False
        numbers = SimpleNamespace(
            made=lambda spec, manifest: None if made is None else (made, None),
            base=lambda job, number: stands,
            server=lambda job, number: None,
        )
        house: Any = SimpleNamespace(numbers=numbers, begin=self._begin, store=self.record.store)
        patience = Patience(threading.Event(), SimpleNamespace(held=True, epoch="1"), lambda words: None)
        self.planning = Planning(house, self.spec, self.record, patience, Glance(house, self.record, patience))

    def _begin(self, call: Callable[[], Any]) -> Callable[[], Any]:
        """Called at once: what is begun ahead stands before the checkpoint does."""
        if call == self.record.control:
            return call
        self.begun += 1
        found = call()

        def result() -> Any:
            if self.failing:
                raise StorageUnavailable("the answer was lost")
            return found

        return result

    def plans(self) -> list[str]:
        return [info.key for info in self.record.store.list(keys.plans(JOB, 2))]


def test_the_plan_that_was_begun_beside_the_checkpoint_is_the_rounds(tmp_path: Path) -> None:
    job = Job(tmp_path, base("a"), base("a"))
    job.planning.begin(COMMITTED)
    assert job.plans() == [keys.plan(JOB, 2, 0)]
    plan, ours = job.planning.plan(2, flowing=True)
    assert (plan.number, plan.base, ours, len(job.plans())) == (0, base("a"), True, 1)


@pytest.mark.parametrize("flowing", [True, False])
def test_where_another_checkpoint_came_to_stand_the_next_plan_names_that(tmp_path: Path, flowing: bool) -> None:
    job = Job(tmp_path, base("a"), base("b"))
    job.planning.begin(COMMITTED)
    plan, ours = job.planning.plan(2, flowing=flowing)
    assert (plan.number, plan.base, ours) == (1, base("b"), False)
    assert job.record.last_plan(2) == plan
    again, _ = job.planning.plan(2, flowing=False)
    assert again == plan


def test_a_leader_that_takes_over_goes_by_the_plan_that_stands(tmp_path: Path) -> None:
    first = Job(tmp_path, base("a"), base("a"))
    first.planning.begin(COMMITTED)
    second = Job(tmp_path, None, base("a"))
    plan, ours = second.planning.plan(2, flowing=False)
    assert (plan.number, ours, len(second.plans())) == (0, False, 1)


def test_a_plan_whose_answer_was_lost_stands_all_the_same(tmp_path: Path) -> None:
    job = Job(tmp_path, base("a"), base("a"))
    job.planning.begin(COMMITTED)
    job.failing = True
    plan, ours = job.planning.plan(2, flowing=True)
    assert (plan.number, ours, len(job.plans())) == (0, False, 1)


def test_what_was_begun_for_another_round_is_not_taken_for_this_one(tmp_path: Path) -> None:
    job = Job(tmp_path, base("a"), base("a"))
    job.planning.begin(COMMITTED)
    plan, _ = job.planning.plan(3, flowing=True)
    assert plan.round == 3


@pytest.mark.parametrize("spec", [{"rounds": 1}, {"balance": {"kind": "aimd"}}])
def test_nothing_is_begun_after_the_last_round_or_where_the_plan_follows_from_the_commit(
    tmp_path: Path, spec: dict[str, Any]
) -> None:
    job = Job(tmp_path, base("a"), base("a"), **spec)
    job.planning.begin(COMMITTED)
    assert (job.begun, job.plans()) == (0, [])


def test_without_a_prepared_checkpoint_the_plan_waits_for_it(tmp_path: Path) -> None:
    job = Job(tmp_path, None, base("b"))
    job.planning.begin(COMMITTED)
    assert job.plans() == []
    plan, ours = job.planning.plan(2, flowing=True)
    assert (plan.base, ours) == (base("b"), True)
