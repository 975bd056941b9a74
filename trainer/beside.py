"""A second thread of a worker's own: one thing at a time runs beside the training."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait


class OneThread:
    """Implements `ports.Beside`. The thread begins with the first thing to run, and is kept."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"{name}-leaving")
        self._running: Future[None] | None = None

    def start(self, act: Callable[[], None]) -> None:
        assert self._running is None, "one thing at a time"
        self._running = self._pool.submit(act)

    def ended(self, timeout: float | None = None) -> bool:
        running = self._running
        if running is None:
            return True
        if not wait([running], timeout).done:
            return False
        self._running = None
        running.result()  # raises what ended it
        return True

    def close(self) -> None:
        self._pool.shutdown()
