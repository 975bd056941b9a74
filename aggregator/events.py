"""What a round hears (events), and what it wants done (effects): plain data, no behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Command = Literal["run", "pause", "cancel", "fail", "done"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one client: a valid update, or why there is none.

    A `dead` answer is a round job that came back from the broker as a dead letter; its attempt tells one
    letter from another, so that the same letter told twice is one.
    """

    client: str
    outcome: Literal["valid", "rejected", "failed", "dead"]
    attempt: str = ""
    reason: str = ""
    round: int = 0  # that the client was asked in; said where several are open at a time


@dataclass(frozen=True, slots=True)
class ControlState:
    """What the job's highest control document says; `number` tells one resume from the next (0: none yet)."""

    command: Command = "run"
    number: int = 0
    reason: str = ""


# Events


@dataclass(frozen=True, slots=True)
class Opened:
    """A leader begins with the round. Not fresh: its plan was made before, by itself or by another."""

    fresh: bool
    control: ControlState = ControlState()
    extensions: int = 0  # already used, as far as the ledger still knows


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers came in, from the streams or from a look at the store."""

    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Looked:
    """The look that was asked for is done: its answers were told before this; here is the control."""

    control: ControlState


@dataclass(frozen=True, slots=True)
class DeadlineStarted:
    name: str
    at: float


@dataclass(frozen=True, slots=True)
class Resampled:
    """A new plan stands: these clients more (none: nobody is left to ask)."""

    plan: int
    more: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time passed."""


@dataclass(frozen=True, slots=True)
class Wiped:
    """Redis shows a new epoch: all news before it may be lost, and so may the deadline."""


@dataclass(frozen=True, slots=True)
class Reconnected:
    """Redis answers again: news may have been missed."""


@dataclass(frozen=True, slots=True)
class Controlled:
    """The control documents were read again, because somebody said to."""

    control: ControlState


@dataclass(frozen=True, slots=True)
class Frozen:
    """A manifest of the round exists: ours or another's; its entries are what counts."""

    clients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """The checkpoint of the round exists."""


Event = (
    Opened
    | Answers
    | Looked
    | DeadlineStarted
    | Resampled
    | Ticked
    | Wiped
    | Reconnected
    | Controlled
    | Frozen
    | Written
)

# Effects


@dataclass(frozen=True, slots=True)
class Look:
    """Read the control documents, and first the store's updates where asked; answer with `Looked`."""

    store: bool


@dataclass(frozen=True, slots=True)
class Publish:
    """Send round jobs to these clients, in client order."""

    clients: tuple[str, ...]
    again: bool  # somebody may already have been asked: trainers look for an update first


@dataclass(frozen=True, slots=True)
class StartDeadline:
    """Start the deadline of this name, or find when it falls; answer with `DeadlineStarted`."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Resample:
    """Plan more clients; answer with `Resampled`."""

    reason: str


@dataclass(frozen=True, slots=True)
class Freeze:
    """Create the manifest with these clients' updates, in this order; answer with `Frozen`."""

    clients: tuple[str, ...]
    reason: str  # shown by `watch`, kept in the manifest


@dataclass(frozen=True, slots=True)
class Write:
    """Create the checkpoint that the manifest implies; answer with `Written`."""


@dataclass(frozen=True, slots=True)
class WriteControl:
    """Create the next control document; where another was first, answer with `Controlled`."""

    command: Literal["pause", "fail"]
    reason: str


Effect = Look | Publish | StartDeadline | Resample | Freeze | Write | WriteControl


@dataclass(frozen=True, slots=True)
class Rules:
    """What the job says about closing a round."""

    quorum: int  # the fewest valid updates
    wanted: int  # n, before over-selection: the n-th valid update closes the round
    deadline_seconds: float
    below_quorum: Literal["pause", "extend", "resample", "fail"]
    max_extensions: int = 0


TROUBLES_NAMED = 3
TROUBLE_CHARACTERS = 300  # of one client's reason

Phase = Literal["new", "looking", "open", "paused", "frozen", "committed", "ended"]


@dataclass(frozen=True, slots=True)
class Round:
    """One round as its leader knows it."""

    number: int
    asked: frozenset[str]
    rules: Rules
    plan: int = 0
    phase: Phase = "new"
    valid: Mapping[str, str] = field(default_factory=dict)  # client -> attempt, the first valid one
    rejected: Mapping[str, str] = field(default_factory=dict)  # client -> reason
    failed: Mapping[str, str] = field(default_factory=dict)
    buried: Mapping[str, str] = field(
        default_factory=dict
    )  # client -> the dead letter after which it was asked once more
    to_publish: frozenset[str] = frozenset()
    again: bool = False
    looked_at_store: bool = False
    deadline: float | None = None
    deadline_name: str = ""  # of the deadline that runs; another name needs a new one
    extensions: int = 0
    generation: int = 0  # the number of the control document that last let the job run

    @property
    def lost(self) -> int:
        """How many of those asked will give no valid update, as things stand."""
        return len(self.rejected) + len(self.failed)

    @property
    def unanswered(self) -> frozenset[str]:
        return frozenset(c for c in self.asked if not (c in self.valid or c in self.rejected or c in self.failed))

    @property
    def wanted_deadline_name(self) -> str:
        return f"{self.plan}.{self.extensions}.{self.generation}"

    @property
    def tally(self) -> str:
        """The count in words, for reasons."""
        parts = [f"{len(self.valid)} of {len(self.asked)} valid, quorum {self.rules.quorum}"]
        parts += [f"{len(self.failed)} failed"] if self.failed else []
        parts += [f"{len(self.rejected)} rejected"] if self.rejected else []
        silent = len(self.unanswered)
        parts += [f"{silent} silent"] if silent else []
        return ", ".join(parts)

    @property
    def trouble(self) -> str:
        """The first of those lost, each with its reason, to follow the tally; empty where nobody is."""
        lost = [(client, "failed", why) for client, why in self.failed.items()]
        lost += [(client, "rejected", why) for client, why in self.rejected.items()]
        named = [f"; {client} {what}: {why[:TROUBLE_CHARACTERS]}" for client, what, why in sorted(lost)]
        more = f"; and {len(named) - TROUBLES_NAMED} more" if len(named) > TROUBLES_NAMED else ""
        return "".join(named[:TROUBLES_NAMED]) + more


@dataclass(frozen=True, slots=True)
class Step:
    """The next state, what to carry out, in this order, and why."""

    round: Round
    effects: tuple[Effect, ...] = ()
    reason: str = ""
