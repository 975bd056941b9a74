"""What each algorithm asks of trainers and aggregators: one table that both read. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .job import JobSpec

BESIDE = "warren/"  # begins the name of each tensor that an update carries beside the model's own

TERM_MAX = 1e12  # of a number that a formula takes from a client: a larger one would drown all others


Keeps = Literal["nothing", "state", "personal"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One algorithm's demands; each default asks nothing.

    Attributes:
        keeps: what a client keeps from one counted update to the next: nothing; `state`, in the store;
            `personal`, what never leaves a site's disk (a pool's clients move between trainers, so that theirs
            lies in the store).
        sends: of each of these a tensor stands in the update beside each trained one, named
            `warren/<this>/<name>`. They are averaged with every client alike, whatever the weighting.
        hears: whether clients are given the strategy's state as of the checkpoint.
        terms: numbers that each update must say in its metadata, with the least that they may be.
        even: the algorithm counts every client alike unless the job says otherwise.
        ours: needs Warren's own loop; a task's own `train` can't follow it.
    """

    keeps: Keeps = "nothing"
    sends: tuple[str, ...] = ()
    hears: bool = False
    terms: Mapping[str, float] = field(default_factory=dict)
    even: bool = False
    ours: bool = False


PLAIN = Rule()

# The client's part of a strategy, chosen by `strategy.name`.
OF_STRATEGY: dict[str, Rule] = {
    "scaffold": Rule(keeps="state", sends=("dc",), hears=True, even=True, ours=True),
    "fednova": Rule(terms={"a": 1e-6}, ours=True),
    "diloco": Rule(keeps="state", even=True, ours=True),
    "feddyn": Rule(keeps="state", even=True, ours=True),
    "qfedavg": Rule(terms={"loss": 0.0, "distance": 0.0}),
}

# The client's alone, chosen by `train.rule`: any strategy averages what comes of it.
OF_CLIENT: dict[str, Rule] = {
    "fedbn": Rule(keeps="personal"),
    "fedper": Rule(keeps="personal"),
    "ditto": Rule(keeps="personal", ours=True),
    "fedsam": Rule(ours=True),
}


def rule_name(spec: JobSpec) -> str:
    """The name of the job's local rule; empty where clients only train."""
    if spec.strategy.name in OF_STRATEGY:
        return spec.strategy.name
    return spec.train.rule or ("fedper" if spec.train.local else "")


def rule_of(spec: JobSpec) -> Rule:
    """What the job's algorithm asks."""
    name = rule_name(spec)
    rule = OF_STRATEGY.get(name) or OF_CLIENT.get(name) or PLAIN
    if rule.keeps == "nothing" and (spec.train.local or spec.compress.feeds_back):  # fedsam with layers that stay
        return Rule("personal", rule.sends, rule.hears, rule.terms, rule.even, rule.ours)
    return rule


def counts_examples(spec: JobSpec) -> bool:
    """Whether an update counts by its examples, else all alike."""
    if spec.strategy.weighting is not None:
        return spec.strategy.weighting == "examples"
    return not rule_of(spec).even


def kept_at_site(spec: JobSpec) -> bool:
    """Whether what clients keep stays on their own disks, and never reaches the store."""
    return bool(spec.sites) and rule_of(spec).keeps == "personal"


FEDDYN_ALPHA = 0.01


def feddyn_alpha(spec: JobSpec) -> float:
    """FedDyn's alpha: clients and server must take the same."""
    return float(spec.strategy.options.get("alpha", FEDDYN_ALPHA))  # type: ignore[arg-type]
