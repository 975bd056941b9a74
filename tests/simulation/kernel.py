"""The seeded scheduler: actors as greenlets, simulated time, processes that crash or freeze between any two effects.

Real code runs unchanged as actors; every adapter calls `Kernel.point` before each effect, and there another
actor may go on, time may pass, or the process may die. Nothing sleeps, and no thread or real clock is read.
"""

from __future__ import annotations

import heapq
import random
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from greenlet import GreenletExit, getcurrent, greenlet

STEPS_MAX = 120_000  # of one run: more is a loop that never waits

HOT = frozenset(("create", "publish", "append", "ack", "acquire", "news"))  # where what dies or waits is dear

Waiters = list[tuple["Actor", int]]


class Killed(GreenletExit):
    """The process is dead: unwinds an actor. A dead process has no effects, so its adapters raise it again."""


@dataclass(slots=True, eq=False)
class Process:
    """What dies together: one aggregator, one trainer, the operator."""

    name: str
    mortal: bool = True  # faults may strike it
    dead: bool = False
    frozen_until: float = 0.0
    actors: list[Actor] = field(default_factory=list)
    stop: Stop = field(init=False)
    on_end: list[Callable[[], None]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Actor:
    """One thread of a process."""

    name: str
    process: Process
    greenlet: greenlet
    token: int = 0  # of what it waits for: an older wake-up is not for it
    heard: int = 0  # the step at which it last read news
    saw_control: int = 0  # the step at which it last listed a job's control
    saw_manifest: int = 0  # the step at which it last asked for a round's manifest
    round: int = 0  # whose plan it last looked for


class Kernel:
    """Runs actors one at a time, in an order that the seed decides."""

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        self.now = 0.0
        self.steps = 0
        self.chance = random.Random(seed)
        self.draw = self.chance.random
        self.violation: str | None = None
        self.finished = False
        self.trace: list[str] | None = [] if trace else None
        self.current: Actor | None = None
        self.strike: Callable[[Actor, float], None] | None = None  # what befalls an actor at a point
        self.threshold = 0.0  # how likely something does
        self.hot_threshold = 0.0
        self._hub = getcurrent()
        self._heap: list[tuple[float, int, Actor | None, int, Callable[[], None] | None]] = []
        self._ready: list[Actor] = []
        self._sequence = 0
        self._doomed: list[Process] = []
        self._processes: list[Process] = []

    # For adapters

    def point(self, process: Process, verb: str, what: str = "") -> None:
        """Before an effect: whatever may happen between two effects happens here."""
        if process.dead:
            raise Killed
        self.steps += 1
        if self.trace is not None:
            self._write(f"{verb} {what}")
        threshold = self.hot_threshold if verb in HOT else self.threshold
        luck = self.draw()
        if luck < threshold and self.current is not None and self.strike is not None:
            self.strike(self.current, luck / threshold)

    def block(self, seconds: float, *signals: Waiters) -> None:
        """Wait until a signal, or until the time has passed."""
        actor = self.current
        assert actor is not None, "only an actor may wait"
        if actor.process.dead:
            raise Killed
        actor.token += 1
        self._push(self.now + seconds, actor, actor.token, None)
        for signal in signals:
            signal.append((actor, actor.token))
        self._hub.switch()

    def give_way(self) -> None:
        """Let any other actor go on first."""
        actor = self.current
        assert actor is not None
        actor.token += 1
        self._ready.append(actor)
        self._hub.switch()

    def wake(self, signal: Waiters) -> None:
        for actor, token in signal:
            if actor.token == token:
                actor.token += 1
                self._ready.append(actor)
        signal.clear()

    def at(self, time: float, call: Callable[[], None]) -> None:
        """Do this then, outside of every process."""
        self._push(time, None, 0, call)

    def note(self, text: str) -> None:
        """For the trace: something worth a line."""
        if self.trace is not None:
            self._write(f"* {text}")

    def fail(self, violation: str) -> None:
        """What must hold does not: the run ends here."""
        if self.violation is None:
            self.violation = violation
            self.note(f"VIOLATION {violation}")
        if getcurrent() is not self._hub:
            self._hub.switch()

    # Processes

    def process(self, name: str, *, mortal: bool = True) -> Process:
        process = Process(name, mortal)
        process.stop = Stop(self, process)
        self._processes.append(process)
        return process

    def spawn(self, process: Process, name: str, work: Callable[[], None]) -> None:
        """One more thread of a process."""
        if process.dead:
            raise Killed

        def run() -> None:
            try:
                work()
            except GreenletExit:
                pass
            except Exception as error:
                if not process.dead:
                    self.broke_off(f"{process.name}/{name}", error)
            self._ended(actor)

        actor = Actor(f"{process.name}/{name}", process, greenlet(run, parent=self._hub))
        process.actors.append(actor)
        self._ready.append(actor)

    def crash(self, process: Process) -> None:
        """SIGKILL: all its actors end where they stand."""
        if process.dead:
            return
        process.dead = True
        self.note(f"crash {process.name}")
        if getcurrent() is self._hub:
            self._bury(process)
        else:
            self._doomed.append(process)
            self._hub.switch()

    def freeze(self, process: Process, seconds: float) -> None:
        """SIGSTOP: none of its actors does anything until then."""
        process.frozen_until = max(process.frozen_until, self.now + seconds)
        self.note(f"freeze {process.name} for {seconds:.1f} s")
        if self.current is not None and self.current.process is process:
            self.block(seconds)

    # Running

    def run(self) -> None:
        """Until somebody says that it is finished, or something fails."""
        while not (self.finished or self.violation):
            if self._doomed:
                self._bury(self._doomed.pop())
            elif self._ready:
                self._go_on(self._pick())
            elif self._heap:
                self._pass_time()
            else:
                break
            if self.steps > STEPS_MAX:
                self.fail(f"no end after {STEPS_MAX} steps, {self.now:.0f} s")
        self.current = None
        for process in self._processes:
            if not process.dead:
                process.dead = True
                process.on_end.clear()
                self._bury(process)

    def _pick(self) -> Actor:
        ready = self._ready
        place = int(self.draw() * len(ready))
        ready[place], ready[-1] = ready[-1], ready[place]
        return ready.pop()

    def _go_on(self, actor: Actor) -> None:
        process = actor.process
        if process.dead:
            return
        if process.frozen_until > self.now:
            self._push(process.frozen_until, actor, actor.token, None)
            return
        self.current = actor
        actor.greenlet.switch()
        self.current = None

    def _pass_time(self) -> None:
        time, _, actor, token, call = heapq.heappop(self._heap)
        self.now = max(self.now, time)
        if call is not None:
            call()
        elif actor is not None and actor.token == token and not actor.process.dead:
            actor.token += 1
            self._ready.append(actor)

    def _push(self, time: float, actor: Actor | None, token: int, call: Callable[[], None] | None) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (time, self._sequence, actor, token, call))

    def _bury(self, process: Process) -> None:
        for actor in process.actors:
            if not actor.greenlet.dead:
                self.current = actor
                actor.greenlet.throw(Killed)
        self.current = None
        process.actors.clear()
        self._tell_end(process)

    def _ended(self, actor: Actor) -> None:
        process = actor.process
        if process.dead:
            return
        process.actors.remove(actor)
        if process.mortal and not process.actors:
            process.dead = True
            self._tell_end(process)

    def _tell_end(self, process: Process) -> None:
        for call in process.on_end:
            call()
        process.on_end.clear()

    def broke_off(self, who: str, error: BaseException | None) -> None:
        """An exception that nothing in the house expects."""
        if self.violation is None and error is not None:
            where = traceback.extract_tb(error.__traceback__)[-1]
            at = f"{where.filename.rpartition('/')[2]}:{where.lineno}"
            self.fail(f"{who} broke off: {type(error).__name__} at {at}: {error}")

    def _write(self, text: str) -> None:
        assert self.trace is not None
        who = self.current.name if self.current else "-"
        self.trace.append(f"{self.steps:6} {self.now:8.3f}  {who:24} {text}")


class Stop:
    """A threading.Event of one process, in simulated time."""

    def __init__(self, kernel: Kernel, process: Process) -> None:
        self._kernel = kernel
        self._process = process
        self._set = False
        self._waiters: Waiters = []

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        self._kernel.wake(self._waiters)

    def wait(self, timeout: float | None = None) -> bool:
        if not self._set:
            self._kernel.block(1e9 if timeout is None else timeout, self._waiters)
        return self._set
