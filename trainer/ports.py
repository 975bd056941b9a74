"""What a worker needs around it: the adapters, its training process, and what ends it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..broker.messages import Completion
from ..broker.ports import Broker
from ..storage.objects import ObjectStore
from ..storage.ports import Ledger
from .wire import Outcome, Work


class News(Protocol):
    """Where completions are told; see `broker.completions.News`."""

    def append_all(self, completions: Sequence[Completion], source: str) -> None: ...


class Training(Protocol):
    """Trains and evaluates, in a process of its own; see `trainer.process.TrainingProcess`."""

    def begin(self, work: Work) -> None:
        """This work will be run after what was begun before. Only makes its `run` quicker."""
        ...

    def run(self, work: Work, keep_going: Callable[[], bool]) -> Outcome:
        """Do this work, begun or not; blocks until there is an outcome."""
        ...

    def close(self) -> None: ...


class Stop(Protocol):
    """What ends a worker: a threading.Event, or a simulated one."""

    def is_set(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> bool: ...


class Beside(Protocol):
    """Runs one thing beside the worker's own thread; see `trainer.beside.OneThread`."""

    def start(self, act: Callable[[], None]) -> None:
        """Begin to run it, where what was started before has `ended`."""
        ...

    def ended(self, timeout: float | None = None) -> bool:
        """Whether what was started is over; waits so long for it (None: until it is). Raises what ended it."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything that a worker talks to."""

    store: ObjectStore
    broker: Broker
    news: News
    ledger: Ledger
    training: Training
    stop: Stop
    name: str  # of this trainer, for people
    source: str  # pool.<name> or site.<name>: whose round jobs it takes
    clock: Callable[[], float]  # monotonic seconds: only for how often to ask, never for a decision
