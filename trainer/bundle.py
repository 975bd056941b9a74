"""Round jobs that are done and not told yet: short ones are told and acknowledged several at a time.

A trip to Redis and back costs as much as a very short job. What is bundled is stored already, and acknowledged only
after it was told, so that a trainer which dies hands all of it to others, who find the updates.
"""

from __future__ import annotations

from collections import deque
from statistics import median

from ..broker.messages import Completion
from ..broker.ports import Delivery
from .ports import News

BUNDLE_MAX = 8  # round jobs of one trip
SHORT_SECONDS = 0.03  # a bundle waits for the jobs after it: 0.25 s at most, if none is longer than the last ones
CHEAP_SECONDS = 0.002  # to store and tell one; what takes longer is better done beside the next one's training
REMEMBERED = 8  # jobs that were all short before the next is taken for short


class Bundle:
    """What one trainer has still to tell, in order."""

    def __init__(self, news: News, source: str) -> None:
        self._news = news
        self._source = source
        self._waiting: list[tuple[Delivery, Completion]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, delivery: Delivery, completion: Completion) -> None:
        """This round job is done; its update, if it has one, is in the store."""
        self._waiting.append((delivery, completion))

    def send(self) -> None:
        """Tell all, then acknowledge. Raises as `News.append_all`: nothing is acknowledged then."""
        if self._waiting:
            self._news.append_all([completion for _, completion in self._waiting], self._source)
        while self._waiting:
            self._waiting.pop(0)[0].ack()

    def hand_back(self) -> None:
        """Give the round jobs to others, who will find what is stored."""
        while self._waiting:
            self._waiting.pop(0)[0].requeue()


class Pace:
    """How long the last round jobs took: where all were short, and cheap to store, the next is worth waiting for."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=REMEMBERED)
        self._leaving: deque[float] = deque(maxlen=REMEMBERED)

    def took(self, seconds: float) -> None:
        """A round job, until there was something to tell of it."""
        self._last.append(seconds)

    def left(self, seconds: float) -> None:
        """One that was done, until it was stored, or stored and told."""
        self._leaving.append(seconds)

    def forget(self) -> None:
        """Something is odd: one at a time, until it was seen again that they are short."""
        self._last.clear()

    @property
    def ahead(self) -> int:
        """How many may wait to be told together."""
        short = len(self._last) == REMEMBERED and max(self._last) < SHORT_SECONDS
        cheap = median(self._leaving or [0.0]) < CHEAP_SECONDS  # one of them may have waited for a core
        return BUNDLE_MAX if short and cheap else 1
