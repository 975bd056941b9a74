"""Many seeds over all cores, with progress; a violation is shortened to what matters and becomes one command."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field

from simulation.play import Played, play

CHUNK = 100  # seeds of one task for one process
EVENTS_SHOWN = 30
FAILURES_SHOWN = 5
REPORT_SECONDS = 5.0


@dataclass(slots=True)
class Tally:
    """What came of many runs."""

    seeds: int = 0
    steps: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)

    def add(self, played: Played) -> None:
        self.seeds += 1
        self.steps += played.steps
        self.ends.update(end or "running" for end in played.ends)
        self.kinds.update(played.kinds)
        if played.violation:
            self.failures.append((played.seed, played.violation))

    def join(self, other: Tally) -> None:
        self.seeds += other.seeds
        self.steps += other.steps
        self.ends.update(other.ends)
        self.kinds.update(other.kinds)
        self.failures += other.failures

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {end}" for end, count in self.ends.most_common())
        return f"{self.seeds} seeds, {self.steps} steps, jobs: {ends}; {len(self.failures)} violations"


def play_some(seeds: range, flows: bool = False) -> Tally:
    gc.disable()  # runs are small and many: a collection in between costs a tenth
    tally = Tally()
    for seed in seeds:
        tally.add(play(seed, flows=flows))
    gc.collect()
    gc.enable()
    return tally


def play_many(seeds: int, processes: int | None = None, *, loud: bool = True, flows: bool = False) -> Tally:
    """Run seeds 0, 1, 2 ... over some processes; `flows`: of asynchronous jobs."""
    processes = min(processes or os.cpu_count() or 1, -(-seeds // CHUNK))
    if processes == 1:
        return play_some(range(seeds), flows)
    tally, began, said = Tally(), time.monotonic(), 0.0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        waiting = {pool.submit(play_some, chunk, flows) for chunk in _chunks(seeds)}
        while waiting:
            done, waiting = _wait(waiting)
            for future in done:
                tally.join(future.result())
            if loud and time.monotonic() - said > REPORT_SECONDS:
                said = time.monotonic()
                print(f"{said - began:5.0f} s  {tally}", file=sys.stderr, flush=True)
    tally.failures.sort()
    return tally


def _wait(waiting: set[Future[Tally]]) -> tuple[set[Future[Tally]], set[Future[Tally]]]:
    done, left = wait(waiting, return_when=FIRST_COMPLETED)
    return set(done), set(left)


def _chunks(seeds: int) -> Iterator[range]:
    for start in range(0, seeds, CHUNK):
        yield range(start, min(seeds, start + CHUNK))


def report(failures: Sequence[tuple[int, str]], *, flows: bool = False) -> str:
    """The failures, each with its command; the first with its shortened trace."""
    lines = []
    for number, (seed, violation) in enumerate(failures[:FAILURES_SHOWN]):
        lines += [
            f"FAILED simulation seed {seed}: {violation}",
            f"  replay: pytest tests/simulation --seed {seed}{' --flows' * flows}",
        ]
        if number == 0:
            lines += shortened(seed, flows=flows)
    if len(failures) > FAILURES_SHOWN:
        lines.append(f"... and {len(failures) - FAILURES_SHOWN} more")
    return "\n".join(lines)


def shortened(seed: int, *, flows: bool = False) -> list[str]:
    """The trace with only the faults that it takes, and of it only what tells the story."""
    whole = play(seed, flows=flows)
    without = unneeded(whole, flows=flows)
    least = play(seed, without=without, trace=True, flows=flows)
    told = [line for line in least.trace if _matters(line)]
    left = [kind for kind in whole.kinds if kind not in without]
    return [
        f"  faults that it takes: {', '.join(left) or 'none'}",
        f"  violation then: {least.violation}",
        f"  trace: {len(told[-EVENTS_SHOWN:])} events (shortened from {whole.steps})",
        *(f"    {line}" for line in told[-EVENTS_SHOWN:]),
    ]


def unneeded(whole: Played, *, flows: bool = False) -> set[str]:
    """Fault kinds without which the same promise still breaks, left out one after the other."""
    without: set[str] = set()
    for kind in whole.kinds:
        if _alike(play(whole.seed, without=without | {kind}, flows=flows).violation, whole.violation):
            without.add(kind)
    return without


def _alike(one: str | None, other: str | None) -> bool:
    """Whether it is the same promise: the words without names and numbers."""
    return one is not None and other is not None and _words(one) == _words(other)


def _words(violation: str) -> list[str]:
    return [word for word in violation.split(":")[0].split() if word.isalpha()]


_STORY = (" * ", " create ", " publish ", " append ", " ack ", " requeue ", " dead-letter ", " acquire ", " delete ")


def _matters(line: str) -> bool:
    return any(part in line for part in _STORY)
