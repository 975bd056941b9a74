"""An update that leaves while it is still being written: stored as it grows, told once the rest of it is known."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..broker.messages import RoundJob
from ..storage.growing import Growing
from ..storage.job import JobSpec
from .wire import Outcome, Trained

if TYPE_CHECKING:
    from .outbox import Leaving

REST_SECONDS = 60.0  # from the end of the work to what there is to tell of it; it takes none to speak of


class Early:
    """One update's. The thread that stores it waits here for the rest, which the worker's own hands over."""

    def __init__(self, job: RoundJob, spec: JobSpec, key: str, file: Growing) -> None:
        self.job, self.spec, self.key, self.file = job, spec, key, file
        self._settled = threading.Event()
        self._lock = threading.Lock()
        self._leaving: Leaving | None = None
        self._over = False  # nobody waits any more

    def ended(self, outcome: Outcome | None) -> bool:
        """How the work ended (None: it did not); whether its update is what this stores. Else nothing is told here."""
        good = isinstance(outcome, Trained) and outcome.size == self.file.size and outcome.state is None
        if good:
            self.file.finish()
        else:
            self.file.break_off(f"its writer ended with {type(outcome).__name__}")
            self._settled.set()
        return good

    def hand(self, leaving: Leaving) -> bool:
        """What is to be told, once the update is stored. False: it was not waited for any longer."""
        with self._lock:
            if not self._over:
                self._leaving = leaving
                self._settled.set()
            return not self._over

    def rest(self) -> Leaving | None:
        """What was handed over; None: nothing is to be told here."""
        self._settled.wait(REST_SECONDS)
        with self._lock:
            self._over = True
            return self._leaving
