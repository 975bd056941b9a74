"""Going on in spite of servers that do not answer: try again, longer and longer apart, until told to stop."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ..broker.errors import BrokerRefused, BrokerUnavailable
from ..storage.errors import StorageRefused, StorageUnavailable
from .ports import Hold, Stop

RETRY_SECONDS_FIRST = 0.2
RETRY_SECONDS_MAX = 5.0

log = logging.getLogger("warren.aggregator")

P = ParamSpec("P")
T = TypeVar("T")

TROUBLE = (BrokerUnavailable, StorageUnavailable, BrokerRefused, StorageRefused)


class Abandoned(Exception):
    """The work was given up: this aggregator stops, or no longer leads the job. Another goes on."""


class Patience:
    """Calls things until they succeed, or until the hold on the job is gone."""

    def __init__(self, stop: Stop, hold: Hold, say: Callable[[str], None]) -> None:
        self._stop = stop
        self._hold = hold
        self._say = say
        self._chance = random.Random(0)  # jitter only: nothing that is written follows from it

    def __call__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The call's result, however long it takes. Raises Abandoned."""
        wait = RETRY_SECONDS_FIRST
        while True:
            self.check()
            try:
                return call(*args, **kwargs)
            except TROUBLE as error:
                self._say(f"waits, and tries again: {error}")
                self._stop.wait(wait * self._chance.uniform(0.5, 1.0))
                wait = min(RETRY_SECONDS_MAX, wait * 2)

    def check(self) -> None:
        """Raises Abandoned if this is no longer ours to do."""
        if self._stop.is_set() or not self._hold.held:
            raise Abandoned
