"""What a leader knows of each attempt of the round: read once, whole, and then remembered."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from ..storage import keys
from ..storage.documents import Base, Entry
from ..storage.errors import ObjectMissing
from ..storage.job import JobSpec
from ..storage.keys import UpdateName
from ..storage.objects import ObjectInfo
from .events import Answer
from .patience import Patience
from .ports import Begin, Begun, House, UpdateRejected, WhenAsked
from .small import SMALL_BYTES

MORE_SECONDS = 0.01  # of one wait for news while an update is examined
OBJECTS_MAX = 16  # in one `receive`: then what came of them counts before more are looked at

Found = list[tuple[UpdateName, Entry | str]]


class Claim(NamedTuple):
    """An update that is said to be in the store."""

    name: UpdateName
    digest: str | None = None  # that was announced
    size: int = 0  # bytes, as they were announced: no more than a hint


def claims_of(found: Iterable[ObjectInfo]) -> Iterator[Claim]:
    """The updates of a listing."""
    for info in found:
        names = keys.read_updates(info.key)
        for name in names:
            yield Claim(name, size=info.size // len(names))


def by_object(claims: Iterable[Claim]) -> list[list[Claim]]:
    """Those that lie in one object together, so that one thread reads it once."""
    found: dict[str, list[Claim]] = {}
    for claim in claims:
        found.setdefault(keys.split_place(claim.name.place)[0], []).append(claim)
    return list(found.values())


@dataclass(slots=True)
class Receipts:
    """The round's attempts that were examined, the good and the bad."""

    house: House
    spec: JobSpec
    round: int
    base: Base | None
    patiently: Patience
    order: tuple[str, ...] = ()  # all clients asked, in client order; see `ask`
    entries: dict[str, Entry] = field(default_factory=dict)  # client -> its first valid update
    came_at: dict[str, float] = field(default_factory=dict)  # client -> when, where work is balanced
    _answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    _rejected: dict[str, list[str]] = field(default_factory=dict)  # client -> attempts, the latest last
    _asked: frozenset[str] = frozenset()
    _near: bool | None = None  # whether objects are files here; None: not looked yet

    def ask(self, order: tuple[str, ...]) -> None:
        """These clients are asked, all in all: only their updates are received."""
        self.order = order
        self._asked = frozenset(order)

    @property
    def outstanding(self) -> int:
        """How many of those asked have no valid update yet."""
        return len(self.order) - len(self.entries)

    def concerns(self, round_number: int, client: str) -> bool:
        """Whether news of this client's part in that round is news of ours."""
        return round_number == self.round

    def receive(self, claims: Iterable[Claim], more: Callable[[float], Iterable[Claim]] | None = None) -> list[Answer]:
        """Examine the updates that are said to be there, each once.

        Args:
            claims: what is said.
            more: waits so many seconds at most for further claims. Asked while others are still to come and one is
                examined: who finishes just then waits for nobody.

        Returns:
            One answer for each attempt not known before, in the order given.
        """
        known: set[tuple[str, str]] = set()
        under_way = deque(self._begin(claims, known, alone=more is None))
        taken = len(under_way)
        answers: list[Answer] = []
        try:
            while under_way:
                while more and not under_way[0].done and taken < OBJECTS_MAX and self.outstanding > len(known):
                    begun = self._begin(more(MORE_SECONDS), known, alone=False)
                    under_way.extend(begun)
                    taken += len(begun)
                for name, found in under_way.popleft()():
                    self.patiently.check()
                    answers.append(self._note(name, found))
                    known.discard((name.client, name.attempt))
        finally:
            for left in under_way:  # the leader goes: others need these threads
                left.drop()
        return answers

    def _begin(self, claims: Iterable[Claim], known: set[tuple[str, str]], *, alone: bool) -> list[Begun[Found]]:
        """Begin to examine those that are new, and add them to the known. Alone: nothing happens meanwhile."""
        fresh: list[Claim] = []
        for claim in claims:
            attempt = (claim.name.client, claim.name.attempt)
            new = attempt not in self._answers and attempt not in known and claim.name.client not in self.entries
            if new and self._expected(claim.name):
                known.add(attempt)
                fresh.append(claim)
        together = by_object(fresh)
        begin = self._way(together, alone=alone)
        return [begin(partial(self._examine_each, some)) for some in together]

    def from_store(self) -> list[Answer]:
        """Examine what the store has for this round and was not announced: each update there is a completion."""
        return self.receive(self.patiently(lambda: [*claims_of(self.house.store.list(self._prefix))]))

    def set_aside(self, client: str) -> tuple[str, ...]:
        """The client's attempts that were rejected, the latest last."""
        return tuple(self._rejected.get(client, ()))

    @property
    def _prefix(self) -> str:
        return keys.updates(self.spec.job, self.round)

    def _expected(self, name: UpdateName) -> bool:
        """Whether this is where the client's updates for this round stand: nobody answers for another."""
        place = (self.spec.job, self.round, self.spec.source_of(name.client))
        return (name.job, name.round, name.source) == place and name.client in self._asked

    def _way(self, together: Sequence[list[Claim]], *, alone: bool) -> Begin:
        """How to examine these: one alone, or small ones near by, are read sooner than other threads are told."""
        if len(together) == 1 and (alone or together[0][0].size <= SMALL_BYTES):
            return WhenAsked
        if any(claims[0].size > SMALL_BYTES for claims in together):
            return self.house.begin
        if self._near is None:
            with suppress(ObjectMissing):
                self._near = self.patiently(self.house.store.local_path, keys.spec(self.spec.job)) is not None
        return WhenAsked if self._near else self.house.begin

    def _examine_each(self, claims: list[Claim]) -> Found:
        return [self._examine(claim) for claim in claims]

    def _examine(self, claim: Claim) -> tuple[UpdateName, Entry | str]:
        name, digest, size = claim
        try:
            return name, self.patiently(self.house.numbers.examine, name, self.spec, self.base, digest, size)
        except UpdateRejected as why:
            return name, str(why)
        except ObjectMissing:
            return name, "it was announced, but it is not in the store"

    def _note(self, name: UpdateName, found: Entry | str) -> Answer:
        if isinstance(found, str):
            answer = Answer(name.client, "rejected", name.attempt, found, round=name.round)
            self._rejected.setdefault(name.client, []).append(name.attempt)
        else:
            answer = Answer(name.client, "valid", name.attempt, round=name.round)
            if name.client not in self.entries:
                self._keep(name, found)
        self._answers[(name.client, name.attempt)] = answer
        return answer

    def _keep(self, name: UpdateName, entry: Entry) -> None:
        """This update is the client's: it may be folded ahead."""
        self.entries[name.client] = entry
        if self.spec.balance.balances:
            self.came_at[name.client] = self.patiently(self.house.ledger.now)
        self.house.numbers.offer(self.spec, self.round, entry, self.order)
