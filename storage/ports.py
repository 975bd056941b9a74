"""What the ledger gives (Redis; fakeredis; a simulated one): leases, deadlines, progress, presence. All rebuildable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Pulse:
    """One look at the ledger: its time, its epoch (another one: it was wiped), the leases still ours."""

    now: float  # seconds of the ledger's own clock
    epoch: str
    held: frozenset[str]


@dataclass(frozen=True, slots=True)
class Presence:
    """One trainer or aggregator that said it is there, and what it is at. Gone when it stops saying so."""

    kind: str  # trainer | aggregator
    id: str
    # host, pool or site, job, round, client, device, state, since
    fields: Mapping[str, str] = field(default_factory=dict)


class Ledger(Protocol):
    """News and order, never truth: it may be wiped at any moment.

    Raises (each verb): StorageUnavailable; StorageRefused for credentials and rights.
    """

    def now(self) -> float:
        """The ledger's clock, in seconds: the only clock that deadlines are compared with.

        It may be carried on by a clock of ours for about a second, and then lags by the way of an answer: never early.
        """
        ...

    def acquire(self, job: str, nonce: str, seconds: float) -> bool:
        """Take the lease of a job if nobody holds it (or this nonce already does); it lasts so long unless renewed."""
        ...

    def renew(self, jobs: Sequence[str], nonce: str, seconds: float) -> Pulse:
        """Extend those of these leases that this nonce holds, in one round trip; makes an epoch if there is none."""
        ...

    def release(self, job: str, nonce: str) -> None:
        """Give the lease up if this nonce holds it."""
        ...

    def holder(self, job: str) -> str | None:
        """The nonce that leads the job."""
        ...

    def start_deadline(self, job: str, round_number: int, name: str, seconds: float) -> float:
        """When this deadline falls: set to now + seconds on the first call with this name, the same ever after."""
        ...

    def deadlines(self, job: str, round_number: int) -> Mapping[str, float]:
        """The round's deadlines that were started, by name."""
        ...

    def set_progress(self, job: str, fields: Mapping[str, str]) -> None:
        """Overwrite these fields of the job's progress (round, state, reason, ...), for watchers and trainers."""
        ...

    def progress(self, job: str) -> Mapping[str, str]:
        """The job's progress; empty where nothing is known."""
        ...

    def announce(self, presence: Presence, seconds: float) -> None:
        """Say that somebody is there, for so long."""
        ...

    def presences(self, kind: str) -> Sequence[Presence]:
        """Everybody of a kind who is there, by id."""
        ...

    def forget(self, job: str) -> None:
        """Drop all that is held for a job that ended."""
        ...
