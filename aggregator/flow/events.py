"""What a flow is, hears (events) and wants done (effects), beside what it shares with a round: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ...storage.job import JobSpec
from ..events import Event as RoundEvent
from ..events import Freeze, Look, Publish, Write, WriteControl

Phase = Literal["new", "looking", "open", "paused", "frozen", "committed", "ended"]

TROUBLES_NAMED = 2
TROUBLE_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Ask:
    """A client that is out: the version it started from, and when it is given up (None: not published by us yet)."""

    base: int
    deadline: float | None = None

    @property
    def round(self) -> int:
        """What its round job, its update and its answer are counted by."""
        return self.base + 1


@dataclass(frozen=True, slots=True)
class Ready:
    """A client whose valid update is in, and counts in no version yet."""

    base: int
    attempt: str


@dataclass(frozen=True, slots=True)
class Lost:
    """A client whose ask came to nothing, since the last version."""

    base: int
    how: Literal["failed", "rejected", "silent"]
    reason: str


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan of this version stands, ours or another's: who is out, with the version each started from."""

    number: int
    bases: Mapping[str, int]
    clocks: Mapping[str, int]
    ours: bool


@dataclass(frozen=True, slots=True)
class Counted:
    """A manifest of this version exists: ours or another's. What counts, and whose ask came to nothing."""

    bases: Mapping[str, int]
    lost: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AskAnew:
    """Effect: create the next plan of this version; answer with `Planned`."""

    number: int
    bases: Mapping[str, int]
    clocks: Mapping[str, int]


Event = RoundEvent | Planned | Counted  # a round's own Frozen and deadline do not occur
Effect = Look | Publish | AskAnew | Freeze | Write | WriteControl


@dataclass(frozen=True, slots=True)
class FlowRules:
    """What the job says about its flow."""

    kind: Literal["ssp", "fedasync", "fedbuff"]
    clients: tuple[str, ...]
    out_max: int  # how many are out at a time
    takes: int  # updates that make a version; 0 in ssp, where the clocks say
    staleness: float  # ssp: how far a client may be ahead of the slowest
    quorum: int  # the fewest clients that must be left
    deadline_seconds: float
    below_quorum: Literal["pause", "extend", "fail"]
    max_extensions: int
    seed: int


@dataclass(frozen=True, slots=True)
class Flow:
    """All that is known of a job between two versions. Immutable: each step gives the next one."""

    version: int  # that is to be made
    rules: FlowRules
    plan: int = -1  # the highest plan of this version that we know; -1: none yet
    listed: Mapping[str, int] = field(default_factory=dict)  # the clients of that plan, and their bases
    phase: Phase = "new"
    out: Mapping[str, Ask] = field(default_factory=dict)
    ready: Mapping[str, Ready] = field(default_factory=dict)  # in order of arrival
    lost: Mapping[str, Lost] = field(default_factory=dict)
    buried: Mapping[str, str] = field(default_factory=dict)  # client -> the dead letter after which it was asked again
    clocks: Mapping[str, int] = field(default_factory=dict)  # client -> how many of its updates counted; of ssp
    to_publish: frozenset[str] = frozenset()
    again: bool = False
    looked_at_store: bool = False
    extensions: int = 0

    @property
    def deadline(self) -> float | None:
        """When the next client is given up."""
        return min((ask.deadline for ask in self.out.values() if ask.deadline is not None), default=None)

    @property
    def tally(self) -> str:
        """The count in words, for reasons."""
        parts = [f"{len(self.ready)} ready, {len(self.out)} out"]
        parts += [f"{len(self.lost)} lost"] if self.lost else []
        return ", ".join(parts)

    @property
    def trouble(self) -> str:
        """The first of those lost, each with its reason, to follow the tally; empty where nobody is."""
        named = [f"; {c} {one.how}: {one.reason[:TROUBLE_CHARACTERS]}" for c, one in sorted(self.lost.items())]
        more = f"; and {len(named) - TROUBLES_NAMED} more" if len(named) > TROUBLES_NAMED else ""
        return "".join(named[:TROUBLES_NAMED]) + more


@dataclass(frozen=True, slots=True)
class FlowStep:
    """The next state, what to carry out, in this order, and why."""

    flow: Flow
    effects: tuple[Effect, ...] = ()
    reason: str = ""


def rules_of(spec: JobSpec) -> FlowRules:
    """The rules of an asynchronous job."""
    schedule = spec.schedule
    assert schedule.kind != "synchronous"
    assert spec.below_quorum != "resample", "refused at submit"
    return FlowRules(
        kind=schedule.kind,
        clients=spec.client_names,
        out_max=spec.selected,
        takes={"ssp": 0, "fedasync": 1, "fedbuff": schedule.buffer}[schedule.kind],
        staleness=float(schedule.staleness),
        quorum=spec.quorum_count,
        deadline_seconds=spec.deadline_seconds,
        below_quorum=spec.below_quorum,
        max_extensions=spec.max_extensions,
        seed=spec.seed,
    )
