"""Who is asked in a round: drawn from the job's seed, and written down before anybody is asked. No I/O."""

from __future__ import annotations

import random
from collections.abc import Collection

from ..storage.documents import Base, Plan
from ..storage.job import JobSpec
from .events import Rules
from .reducers.options import least_updates


def first_plan(spec: JobSpec, round_number: int, base: Base | None, server: Base | None = None) -> Plan:
    """The plan that a round starts with.

    Round 0 asks one client of a pool, or all sites, to initialise the model: the first answer is enough.
    Fewer updates than its reducer can do without are below the quorum, whatever the job says.
    """
    names = spec.client_names
    if round_number == 0:
        asked = names if spec.sites else names[:1]
        return Plan(round=0, clients=asked, wanted=1, quorum=1)
    drawn = names if spec.asked == len(names) else _draw(spec, round_number, 0, names, spec.asked)
    return Plan(
        round=round_number,
        clients=tuple(sorted(drawn)),
        wanted=spec.selected,
        quorum=max(spec.quorum_count, least_updates(spec.reducer)),
        base=base,
        server=server,
    )


def resampled_plan(spec: JobSpec, plan: Plan, answered: Collection[str]) -> Plan | None:
    """The next plan of the round: as many new clients as gave nothing valid; None where nobody is left.

    Args:
        spec: the job.
        plan: the plan so far.
        answered: clients whose valid update is in; they keep their place.
    """
    left = [name for name in spec.client_names if name not in set(plan.clients)]
    missing = min(max(1, plan.wanted - len(answered)), len(left))
    if not left or plan.number >= 99:
        return None
    more = _draw(spec, plan.round, plan.number + 1, left, missing)
    clients = tuple(sorted({*plan.clients, *more}))
    return plan.model_copy(update={"number": plan.number + 1, "clients": clients})


def evaluating_clients(spec: JobSpec) -> tuple[str, ...]:
    """Whose validation shares judge every checkpoint: always the same clients, so that rounds compare."""
    names = spec.client_names
    if spec.evaluate.share == 0 or spec.evaluate.clients == 0:
        return ()
    if len(names) <= spec.evaluate.clients:
        return names
    return tuple(sorted(random.Random(f"{spec.seed}/evaluation").sample(names, spec.evaluate.clients)))


def rules(spec: JobSpec, plan: Plan) -> Rules:
    """What the job says about closing the round of this plan."""
    return Rules(
        quorum=plan.quorum,
        wanted=plan.wanted,
        deadline_seconds=spec.deadline_seconds,
        below_quorum=spec.below_quorum,
        max_extensions=spec.max_extensions,
    )


def _draw(spec: JobSpec, round_number: int, plan_number: int, names: Collection[str], count: int) -> list[str]:
    # A str seed goes through sha512: the same draw in every process and Python from 3.11 on.
    chance = random.Random(f"{spec.seed}/selection/{round_number}/{plan_number}")
    return chance.sample(sorted(names), count)
