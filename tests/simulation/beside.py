"""A trainer's second thread in the simulation: one more actor of its process."""

from __future__ import annotations

from collections.abc import Callable

from simulation.kernel import Kernel, Process, Stop


class Beside:
    """Implements `trainer.ports.Beside`: one more actor of the process, for one thing at a time."""

    def __init__(self, kernel: Kernel, process: Process) -> None:
        self._kernel = kernel
        self._process = process
        self._over: Stop | None = None

    def start(self, act: Callable[[], None]) -> None:
        assert self._over is None or self._over.is_set(), "one thing at a time"
        over = self._over = Stop(self._kernel, self._process)

        def run() -> None:
            act()
            over.set()

        self._kernel.spawn(self._process, "leaves", run)

    def ended(self, timeout: float | None = None) -> bool:
        if self._over is None or self._over.is_set() or timeout == 0:
            return self._over is None or self._over.is_set()
        return self._over.wait(timeout)

    def close(self) -> None:
        pass
