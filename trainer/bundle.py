"""Round jobs that are done and not told yet: short ones are stored, told and acknowledged several at a time.

A trip to a store or to Redis and back costs more than a very short job. What waits is acknowledged only after it was
stored and told, so that a trainer which dies hands all of it to others, who find what is stored or do it again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from ..broker.messages import Completion
from ..broker.ports import Delivery
from ..storage import keys
from ..storage.objects import ObjectStore
from ..storage.parcels import HEADER_BYTES_MAX, MEMBERS_MAX, PARCEL_BYTES_MAX, pack
from .ports import News

BUNDLE_MAX = MEMBERS_MAX  # round jobs of one trip
SHORT_SECONDS = 0.03  # a bundle waits for the jobs after it: 0.25 s at most, if they are as short as the last ones
CHEAP_SECONDS = 0.002  # to store and tell one; what takes longer is better done beside the next one's training
REMEMBERED = 8  # jobs that were short, taken together, before the next is taken for short

log = logging.getLogger("warren.trainer")


@dataclass(slots=True)
class Waiting:
    """A round job that is done and not told."""

    delivery: Delivery
    completion: Completion
    update: bytes | None = None  # that is not stored yet


class Bundle:
    """What one trainer has still to tell, in order."""

    def __init__(self, store: ObjectStore, news: News, source: str) -> None:
        self._store = store
        self._news = news
        self._source = source
        self._waiting: list[Waiting] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, delivery: Delivery, completion: Completion, update: bytes | None = None) -> None:
        """This round job is done; its update, if it has one, is in the store, or small and stored as this is sent."""
        self._waiting.append(Waiting(delivery, completion, update))

    def send(self) -> None:
        """Store and tell all, then acknowledge. Raises as these verbs do: nothing is acknowledged then."""
        for parcel in parcels_of(self._waiting, self._source):
            self._store.create(parcel.key, parcel.body)
            log.info("updates stored together: %d", len(parcel.members), extra=parcel.fields)
            for one in parcel.members:
                one.completion = one.completion.model_copy(update={"parcel": parcel.name})
                one.update = None
        if self._waiting:
            self._news.append_all([one.completion for one in self._waiting], self._source)
        while self._waiting:
            self._waiting.pop(0).delivery.ack()

    def hand_back(self) -> None:
        """Give the round jobs to others, who will find what is stored."""
        while self._waiting:
            self._waiting.pop(0).delivery.requeue()


class Parcel(NamedTuple):
    """What is stored as one object; the update alone where it is one."""

    key: str
    name: str | None
    members: list[Waiting]

    @property
    def fields(self) -> dict[str, object]:
        """What a line of the log says beside its words."""
        said = self.members[0].completion
        return {"job": said.job, "round": said.round}

    @property
    def body(self) -> bytes:
        bodies = [one.update or b"" for one in self.members]
        if self.name is None:
            return bodies[0]
        return pack([(member(one), body) for one, body in zip(self.members, bodies, strict=True)])


def parcels_of(waiting: Iterable[Waiting], source: str) -> Iterator[Parcel]:
    """What of this is to be stored, each parcel of one round, in order."""
    part: list[Waiting] = []
    for one in [one for one in waiting if one.update is not None]:
        if part and not fits(part, one):
            yield parcel_of(part, source)
            part = []
        part.append(one)
    if part:
        yield parcel_of(part, source)


def fits(part: list[Waiting], one: Waiting) -> bool:
    """Whether this one may lie in the same parcel as these."""
    said, same, every = one.completion, part[0].completion, [*part, one]
    if (said.job, said.round) != (same.job, same.round) or len(every) > MEMBERS_MAX:
        return False
    long = sum(len(member(each)) + 1 for each in every) > keys.PARCEL_CHARACTERS_MAX
    large = sum(len(each.update or b"") for each in every) > PARCEL_BYTES_MAX - HEADER_BYTES_MAX
    return not (long or large)


def parcel_of(part: list[Waiting], source: str) -> Parcel:
    said = part[0].completion
    if len(part) == 1:
        return Parcel(keys.update(said.job, said.round, source, said.client, said.attempt), None, part)
    name = keys.parcel_name((one.completion.client, one.completion.attempt) for one in part)
    return Parcel(keys.parcel(said.job, said.round, source, name), name, part)


def member(one: Waiting) -> str:
    return f"{one.completion.client}.{one.completion.attempt}"


class Pace:
    """How long the last round jobs took: where they were short, and cheap to store, the next is worth waiting for.

    By their mean, as any one of them may have waited for a core.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._last: deque[float] = deque(maxlen=remembered)
        self._leaving: deque[float] = deque(maxlen=remembered)

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
    def short(self) -> bool:
        """Whether the next is taken for short."""
        return len(self._last) == self._last.maxlen and sum(self._last) < len(self._last) * SHORT_SECONDS

    @property
    def ahead(self) -> int:
        """How many may wait to be told together, where each is stored by itself."""
        cheap = median(self._leaving or [0.0]) < CHEAP_SECONDS  # one of them may have waited for a core
        return BUNDLE_MAX if self.short and cheap else 1
