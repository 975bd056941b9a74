"""Redis as a process sees it: streams of news that get lost, doubled, late; the ledger; both wiped at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simulation.kernel import Process, Waiters
from simulation.world import World

from warren.broker.completions import NewsItem
from warren.broker.errors import BrokerUnavailable
from warren.broker.messages import Completion, encode
from warren.storage.errors import StorageUnavailable
from warren.storage.ports import Presence, Pulse

CONTROL = "control"
DELAY_SECONDS = 12.0

Id = tuple[int, int]


class Streams:
    """All streams of all jobs."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.entries: dict[tuple[str, str], list[tuple[Id, bytes]]] = {}
        self.waiters: dict[str, Waiters] = {}
        self._last: Id = (0, 0)
        world.on_wipe.append(self.entries.clear)

    def append(self, job: str, source: str, body: bytes) -> None:
        milliseconds = int(self.world.kernel.now * 1000) + 1
        newer = milliseconds > self._last[0]
        self._last = (milliseconds, 0) if newer else (self._last[0], self._last[1] + 1)
        self.entries.setdefault((job, source), []).append((self._last, body))
        self.world.kernel.wake(self.waiters.setdefault(job, []))

    def arrive(self, job: str, source: str, body: bytes) -> None:
        """One entry, as it may come: not at all, twice, or late."""
        world = self.world
        if world.hit("news-lost"):
            world.kernel.note("news lost")
            return
        if world.hit("news-doubled"):
            self.append(job, source, body)
        if world.hit("news-delayed"):
            later = world.kernel.now + world.chance.random() * DELAY_SECONDS
            world.kernel.at(later, lambda: self.append(job, source, body))
        else:
            self.append(job, source, body)

    def after(self, job: str, source: str, last: Id) -> list[NewsItem]:
        found = self.entries.get((job, source), ())
        return [NewsItem(source, f"{at[0]}-{at[1]}", body) for at, body in found if at > last]


class NewsPort:
    """Implements the verbs of `broker.completions.News` for one process."""

    def __init__(self, streams: Streams, process: Process) -> None:
        self._streams = streams
        self._process = process
        self._world = streams.world
        self._kernel = streams.world.kernel

    def append(self, completion: Completion, source: str) -> None:
        self._ask("append", f"{completion.outcome} {completion.client} r{completion.round} {completion.attempt}")
        if completion.outcome in ("failed", "dead"):
            self._world.said_failed.add((completion.job, completion.round, completion.client))
        self._streams.arrive(completion.job, source, encode(completion))
        self._answer()

    def append_all(self, completions: Sequence[Completion], source: str) -> None:
        for completion in completions:
            self.append(completion, source)

    def nudge(self, job: str) -> None:
        self._ask("nudge", job)
        if not self._world.hit("nudge-lost"):
            self._streams.append(job, CONTROL, b"")

    def read(
        self, job: str, sources: Sequence[str], after: Mapping[str, str], timeout_seconds: float
    ) -> list[NewsItem]:
        kernel = self._kernel
        until = kernel.now + timeout_seconds
        last = {source: _id(after.get(source, "0-0")) for source in (*sources, CONTROL)}
        while True:
            self._ask("news", job)
            items = [item for source, seen in last.items() for item in self._streams.after(job, source, seen)]
            if items or kernel.now >= until:
                if kernel.current is not None:
                    kernel.current.heard = kernel.steps
                return items
            kernel.block(until - kernel.now, self._streams.waiters.setdefault(job, []))

    def trim(self, job: str, source: str, up_to_id: str) -> None:
        self._ask("trim", source)
        bound = _id(up_to_id)
        entries = self._streams.entries.get((job, source))
        if entries is not None:
            entries[:] = [entry for entry in entries if entry[0] > bound]

    def forget(self, job: str) -> None:
        self._ask("forget-news", job)
        for place in [place for place in self._streams.entries if place[0] == job]:
            del self._streams.entries[place]

    def _ask(self, verb: str, what: str) -> None:
        self._kernel.point(self._process, verb, what)
        if "redis" in self._world.down or self._world.hit("redis-flake"):
            self._kernel.note("Redis: no answer")
            raise BrokerUnavailable("Redis does not answer")

    def _answer(self) -> None:
        if self._world.hit("redis-lost-answer"):
            raise BrokerUnavailable("Redis's answer was lost")


class LedgerPort:
    """Implements `storage.ports.Ledger` for one process, over the ledger that all share."""

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._ledger = world.ledger
        self._process = process
        self._kernel = world.kernel

    def now(self) -> float:
        self._ask("now", "")
        return self._ledger.now()

    def acquire(self, job: str, nonce: str, seconds: float) -> bool:
        self._ask("acquire", job)
        # Safety must not rest on leases: now and then two have the same one.
        taken = self._world.hit("lease-shared") or self._ledger.acquire(job, nonce, seconds)
        self._answer()
        return taken

    def renew(self, jobs: Sequence[str], nonce: str, seconds: float) -> Pulse:
        self._ask("renew", "")
        pulse = self._ledger.renew(jobs, nonce, seconds)
        self._answer()
        return pulse

    def release(self, job: str, nonce: str) -> None:
        self._ask("release", job)
        self._ledger.release(job, nonce)

    def holder(self, job: str) -> str | None:
        self._ask("holder", job)
        return self._ledger.holder(job)

    def start_deadline(self, job: str, round_number: int, name: str, seconds: float) -> float:
        self._ask("deadline", name)
        at = self._ledger.start_deadline(job, round_number, name, seconds)
        self._answer()
        return at

    def deadlines(self, job: str, round_number: int) -> Mapping[str, float]:
        self._ask("deadlines", job)
        return self._ledger.deadlines(job, round_number)

    def set_progress(self, job: str, fields: Mapping[str, str]) -> None:
        self._ask("progress", fields.get("reason", ""))
        self._ledger.set_progress(job, fields)
        self._answer()

    def progress(self, job: str) -> Mapping[str, str]:
        self._ask("progress?", job)
        return self._ledger.progress(job)

    def announce(self, presence: Presence, seconds: float) -> None:
        self._ask("announce", "")
        self._ledger.announce(presence, seconds)

    def presences(self, kind: str) -> Sequence[Presence]:
        self._ask("presences", kind)
        return self._ledger.presences(kind)

    def forget(self, job: str) -> None:
        self._ask("forget", job)
        self._ledger.forget(job)

    def _ask(self, verb: str, what: str) -> None:
        self._kernel.point(self._process, verb, what)
        if "redis" in self._world.down or self._world.hit("redis-flake"):
            raise StorageUnavailable("Redis does not answer")

    def _answer(self) -> None:
        if self._world.hit("redis-lost-answer"):
            raise StorageUnavailable("Redis's answer was lost")


def _id(text: str) -> Id:
    milliseconds, _, sequence = text.partition("-")
    return int(milliseconds), int(sequence or 0)
