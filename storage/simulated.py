"""A ledger in plain Python on an injected clock, for the seeded simulation: the contract is the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .ports import Presence, Pulse


class SimulatedLedger:
    """`storage.ports.Ledger` without Redis: deterministic, for one thread.

    Args:
        clock: the seconds that it takes for the time; must not run backwards.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._epochs = 0
        self._epoch = ""  # none made yet, or wiped
        self._leases: dict[str, tuple[str, float]] = {}
        self._deadlines: dict[tuple[str, int], dict[str, float]] = {}
        self._progress: dict[str, dict[str, str]] = {}
        self._presences: dict[tuple[str, str], tuple[Presence, float]] = {}

    def wipe(self) -> None:
        """Lose everything, as a Redis restarted empty; the next `renew` makes another epoch."""
        self._epoch = ""
        for held in (self._leases, self._deadlines, self._progress, self._presences):
            held.clear()

    def now(self) -> float:
        return self._clock()

    def acquire(self, job: str, nonce: str, seconds: float) -> bool:
        if self.holder(job) not in (None, nonce):
            return False
        self._leases[job] = (nonce, self._clock() + seconds)
        return True

    def renew(self, jobs: Sequence[str], nonce: str, seconds: float) -> Pulse:
        if not self._epoch:
            self._epochs += 1
            self._epoch = f"epoch-{self._epochs}"
        held = frozenset(job for job in jobs if self.holder(job) == nonce)
        until = self._clock() + seconds
        self._leases.update((job, (nonce, until)) for job in held)
        return Pulse(self._clock(), self._epoch, held)

    def release(self, job: str, nonce: str) -> None:
        if self.holder(job) == nonce:
            del self._leases[job]

    def holder(self, job: str) -> str | None:
        nonce, until = self._leases.get(job, ("", float("-inf")))
        return nonce if self._clock() < until else None

    def start_deadline(self, job: str, round_number: int, name: str, seconds: float) -> float:
        return self._deadlines.setdefault((job, round_number), {}).setdefault(name, self._clock() + seconds)

    def deadlines(self, job: str, round_number: int) -> Mapping[str, float]:
        return dict(self._deadlines.get((job, round_number), {}))

    def set_progress(self, job: str, fields: Mapping[str, str]) -> None:
        self._progress.setdefault(job, {}).update(fields)

    def progress(self, job: str) -> Mapping[str, str]:
        return dict(self._progress.get(job, {}))

    def announce(self, presence: Presence, seconds: float) -> None:
        kept = Presence(presence.kind, presence.id, dict(presence.fields))
        self._presences[presence.kind, presence.id] = (kept, self._clock() + seconds)

    def presences(self, kind: str) -> Sequence[Presence]:
        now = self._clock()
        self._presences = {who: said for who, said in self._presences.items() if now < said[1]}
        return [said for (of_kind, _), (said, _) in sorted(self._presences.items()) if of_kind == kind]

    def forget(self, job: str) -> None:
        self._leases.pop(job, None)
        self._progress.pop(job, None)
        self._deadlines = {place: names for place, names in self._deadlines.items() if place[0] != job}
