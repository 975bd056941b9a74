"""Which checkpoints are evaluated, and by whom; which of them still wait for it."""

from __future__ import annotations

from ..broker.messages import Kind
from ..storage import keys
from ..storage.job import JobSpec
from ..storage.objects import ObjectStore
from .plan import evaluating_clients

HELD_OUT = "held-out"  # the client's name where one trainer of a pool evaluates on the task's test data
OPEN_MAX = 50  # evaluations under way: what is older is frozen with what it has

Asked = tuple[Kind, str]


def asked_to_evaluate(spec: JobSpec) -> frozenset[Asked]:
    """Who judges each checkpoint: clients on their validation shares, and whoever has the task's test data."""
    asked: set[Asked] = {("evaluate", client) for client in evaluating_clients(spec)}
    if spec.evaluate.held_out:
        asked |= {("test", client) for client in spec.sites or (HELD_OUT,)}
    return frozenset(asked)


def is_evaluated(spec: JobSpec, round_number: int) -> bool:
    """Whether this round's checkpoint is to be evaluated."""
    every = spec.evaluate.every
    if every == 0 or not asked_to_evaluate(spec):
        return False
    return round_number == spec.rounds or (round_number > 0 and round_number % every == 0)


def waiting(store: ObjectStore, spec: JobSpec, last: int) -> frozenset[int]:
    """Rounds up to the committed `last` whose evaluation may still be under way: none is frozen."""
    if not is_evaluated(spec, spec.rounds):
        return frozenset()
    every = spec.evaluate.every
    due = set(range(last - last % every, 0, -every)[:OPEN_MAX])
    due |= {last} if last == spec.rounds else set()
    if not due:
        return frozenset()
    before = keys.evaluation(spec.job, min(due) - 1)
    frozen = {info.key for info in store.list(keys.evaluations(spec.job), after=before)}
    return frozenset(number for number in due if keys.evaluation(spec.job, number) not in frozen)
