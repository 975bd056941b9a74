"""A few training processes that many workers share: sites by the dozen on one machine, embedded."""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence

from ..trainer.process import Outcome, Stopped, TrainingProcess, Work

ASK_SECONDS = 0.5  # how long a stopped job's work may go on waiting for its turn


class SharedTraining:
    """Runs each work on the next process that is free, in the order of asking as far as threads allow."""

    def __init__(self, processes: Sequence[TrainingProcess]) -> None:
        self._free: queue.SimpleQueue[TrainingProcess] = queue.SimpleQueue()
        self._all = tuple(processes)

    def warm_up(self, process: TrainingProcess) -> None:
        """Start one of the processes, then let it be used: the slow import of torch, several at a time.

        Raises:
            DeviceRefused: there is no such device here.
        """
        process.facts()
        self._free.put(process)

    def begin(self, work: Work) -> None:
        """Nothing yet: which process is free when its turn comes shows then."""

    def run(self, work: Work, keep_going: Callable[[], bool]) -> Outcome:
        """As `TrainingProcess.run`; waits for its turn first."""
        while True:
            try:
                process = self._free.get(timeout=ASK_SECONDS)
                break
            except queue.Empty:
                if not keep_going():
                    return Stopped()
        try:
            return process.run(work, keep_going)
        finally:
            self._free.put(process)

    def close(self) -> None:
        """End every process."""
        for process in self._all:
            process.close()
