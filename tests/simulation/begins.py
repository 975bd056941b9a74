"""How a leader's calls go on beside it: not at all, as early as may be, or for a while."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from warren.aggregator.ports import Begin, Begun, WhenAsked
from warren.storage.errors import StorageError

T = TypeVar("T")


def at_once(call: Callable[[], T], /) -> Begun[T]:
    """Begins a call as early as it may be: what it finds is as old as can be when it is used."""
    try:
        found = call()
    except StorageError as error:
        failure = error

        def fail() -> T:
            raise failure

        return WhenAsked(fail)
    return WhenAsked(lambda: found)


@dataclass(slots=True)
class InAWhile(Generic[T]):
    """A call that goes on while its caller looks at it a few times: what may be done meanwhile is done."""

    call: Callable[[], T]
    looks: int = 3

    @property
    def done(self) -> bool:
        self.looks -= 1
        return self.looks < 0

    def __call__(self) -> T:
        return self.call()

    def drop(self) -> None:
        pass


BEGINS: tuple[Begin, ...] = (WhenAsked, at_once, InAWhile)  # of one aggregator's life each
