"""Named things that happen in several threads, in order, for tests that wait for one or ask which came first."""

from __future__ import annotations

import threading

SECONDS = 20.0


class Events:
    """Named things that happen, in order; whoever waits for one hears of it."""

    def __init__(self) -> None:
        self.happened: list[str] = []
        self._changed = threading.Condition()

    def tell(self, what: str) -> None:
        with self._changed:
            self.happened.append(what)
            self._changed.notify_all()

    def wait(self, what: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: what in self.happened, SECONDS), f"{what} not in {self.happened}"

    def before(self, first: str, second: str) -> bool:
        return self.happened.index(first) < self.happened.index(second)
