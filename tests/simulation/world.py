"""The servers that all processes share, and the weather over them: which faults strike, and until when."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from simulation.faults import KINDS, POINTS, Faults
from simulation.kernel import Actor, Kernel, Process

from warren.broker.ports import Outgoing
from warren.storage.job import JobSpec
from warren.storage.simulated import SimulatedLedger

HOT_TIMES = 4.0  # more likely at a hot point than elsewhere
LATENCY_SECONDS = 0.4
FREEZE_SECONDS = (0.5, 30.0)  # far longer than a lease


class Letter(Protocol):
    """A message in a queue."""

    body: bytes
    headers: Mapping[str, str]


class Eyes(Protocol):
    """What watches every change of the store; see checks.py."""

    def put(self, key: str, before: bytes | None, body: bytes, actor: Actor | None) -> None: ...
    def deleted(self, key: str) -> None: ...


class World:
    """One run's kernel, faults and servers' state. The ports in the other modules are how a process sees it."""

    def __init__(self, kernel: Kernel, faults: Faults, specs: dict[str, JobSpec], chance: random.Random) -> None:
        self.kernel = kernel
        self.rates = dict(faults.rates)
        self.specs = specs
        self.chance = chance  # of the faults' own choices
        self.down: set[str] = set()
        self.storm = True
        self.ledger = SimulatedLedger(lambda: kernel.now)
        self.on_wipe: list[Callable[[], None]] = []
        self.on_break: list[Callable[[], None]] = []
        self.eyes: Eyes | None = None
        self.said_failed: set[tuple[str, int, str]] = set()  # (job, round, client) whose failure somebody told
        self.misannounced: set[str] = set()  # attempts whose announced digest is not their bytes'
        self.acked: Callable[[Letter, str, Process], None] = lambda letter, queue, process: None
        self.published: Callable[[Sequence[Outgoing], Actor | None], None] = lambda messages, actor: None
        kernel.strike = self._strike
        self._switch = faults.switch
        self._dangers: list[tuple[float, str]] = []
        self._set_dangers()

    def hit(self, kind: str) -> bool:
        """Whether this fault happens now."""
        rate = self.rates[kind]
        return rate > 0.0 and self.kernel.draw() < rate

    def calm(self) -> None:
        """The storm is over: from now on nothing goes wrong any more."""
        self.kernel.note("calm")
        self.storm = False
        self.rates = dict.fromkeys(KINDS, 0.0)
        self.down.clear()
        self._set_dangers()

    def wipe(self) -> None:
        """Redis comes back empty."""
        self.kernel.note("Redis wiped")
        self.ledger.wipe()
        for call in self.on_wipe:
            call()

    def span(self, server: str, seconds: float) -> None:
        """A server is away for so long."""
        if not self.storm:
            return
        self.kernel.note(f"{server} away for {seconds:.1f} s")
        self.down.add(server)
        if server == "broker":
            for call in self.on_break:
                call()
        self.kernel.at(self.kernel.now + seconds, lambda: self.down.discard(server))

    def _set_dangers(self) -> None:
        """Cumulative shares of what may strike at a point; the rest is a switch to another actor."""
        whole = sum(self.rates[kind] for kind in POINTS) + self._switch
        total, dangers = 0.0, []
        for kind in POINTS:
            total += self.rates[kind]
            dangers.append((total / whole, kind))
        self._dangers = dangers
        self.kernel.threshold = whole
        self.kernel.hot_threshold = min(0.6, whole * HOT_TIMES)

    def _strike(self, actor: Actor, luck: float) -> None:
        for bound, kind in self._dangers:
            if luck < bound:
                self._befall(kind, actor)
                return
        self.kernel.give_way()

    def _befall(self, kind: str, actor: Actor) -> None:
        kernel, process = self.kernel, actor.process
        if kind == "latency":
            kernel.block(self.chance.random() * LATENCY_SECONDS)
        elif kind == "wipe-anywhere":
            self.wipe()
        elif not process.mortal:
            kernel.give_way()
        elif kind == "crash":
            kernel.crash(process)
        elif kind == "drain":
            kernel.note(f"drain {process.name}")
            process.stop.set()
        else:
            least, most = FREEZE_SECONDS
            if self.chance.random() < 0.7:
                self.lost_connections(process.name)
            kernel.freeze(process, least * (most / least) ** self.chance.random())

    def lost_connections(self, process: str) -> None:
        """The broker hears no heartbeat of this process; set by the broker."""
