"""How a leader hears: completions, nudges, a wiped or returning Redis, and the time, as events of the round."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

from ..broker.completions import NewsItem
from ..broker.errors import BrokerError, MessageUnreadable
from ..broker.messages import Completion, decode
from ..storage.errors import StorageError
from ..storage.job import JobSpec
from ..storage.keys import UpdateName
from .events import Answer, Answers, Controlled, ControlState, Event, Reconnected, Ticked, Wiped
from .glance import Glance
from .ports import Hold, House, Stop
from .receipts import Claim, Receipts

LISTEN_SECONDS_MAX = 1.0  # of one wait: how late a lost lease or a stop may be noticed
CONTROL_SECONDS = 10.0  # between two looks at the control documents: how late a lost nudge may be noticed
GATHER_CLIENTS, GATHER_SECONDS = 50, 0.02  # while more than so many are out: several answers at a time cost less
GATHER_SECONDS_MAX = 0.1  # with five times as many, and more
TRIM_ITEMS = 1000  # read since streams were last trimmed; fewer wait for a moment without news
DEAF_SECONDS = 0.5  # between tries while Redis does not answer

log = logging.getLogger("warren.aggregator")


class Hearing:
    """Follows the streams of one job, from the start, and remembers how far it read."""

    def __init__(
        self, house: House, spec: JobSpec, hold: Hold, stop: Stop, control: Callable[[], ControlState], glance: Glance
    ) -> None:
        self._house = house
        self._spec = spec
        self._hold = hold
        self._stop = stop
        self._control = control
        self._glance = glance
        self._after: dict[str, str] = {}
        self._control_at = 0.0
        self._committed: dict[str, str] = {}  # source -> what was read by the last commit
        self._read_since = 0  # items, since streams were trimmed
        self._epoch = hold.epoch
        self._deaf = False
        self._busy = False  # the last wait brought something
        self._nudged = False  # to look at the control documents

    def listen(
        self, receipts: Receipts, deadline: float | None, evaluated: Callable[[Completion], None]
    ) -> list[Event]:
        """Wait for news, until the deadline at most, and tell what was heard.

        Args:
            receipts: examines the updates that are announced.
            deadline: of the round, in the ledger's seconds.
            evaluated: takes the completions of evaluations.
        """
        self._glance.drop()
        if self._busy and receipts.outstanding > GATHER_CLIENTS:
            self._stop.wait(min(GATHER_SECONDS_MAX, GATHER_SECONDS * receipts.outstanding / GATHER_CLIENTS))
        try:
            now = self._house.ledger.now()
            wait = LISTEN_SECONDS_MAX if deadline is None else min(LISTEN_SECONDS_MAX, max(0.0, deadline - now))
            items = self._house.news.read(self._spec.job, self._spec.sources, self._after, wait)
        except (BrokerError, StorageError) as error:
            if not self._deaf:
                log.warning("no news from Redis: %s", error, extra={"job": self._spec.job})
            self._deaf = True
            self._stop.wait(DEAF_SECONDS)
            return []
        self._busy = bool(items)
        self._trim_some(items)
        self._nudged = now - self._control_at >= CONTROL_SECONDS
        disturbances = self._disturbances()
        # Answers come first: a look that a disturbance asks for tells none a second time, and may close the round.
        answers = self._read(items, receipts, evaluated)
        self._control_at = now if self._nudged else self._control_at
        controlled = [Controlled(self._control())] if self._nudged else []
        return [*answers, *disturbances, *controlled, Ticked()]

    def trim(self) -> None:
        """What was read is committed: forget it when there is time, or much of it. Late or lost, this does no harm."""
        self._committed = {source: last for source, last in self._after.items() if source != "control"}

    def _trim_some(self, items: list[NewsItem]) -> None:
        """Not at each commit: that is a write of Redis's for each short round, just when its next one begins."""
        self._read_since += len(items)
        if not self._committed or (items and self._read_since < TRIM_ITEMS):
            return
        committed, self._committed, self._read_since = self._committed, {}, 0
        try:
            for source, last in committed.items():
                self._house.news.trim(self._spec.job, source, last)
        except BrokerError as error:
            log.warning("stream not trimmed: %s", error, extra={"job": self._spec.job})

    def _disturbances(self) -> list[Event]:
        events: list[Event] = []
        if self._deaf:
            self._deaf = False
            events.append(Reconnected())
        if self._hold.epoch != self._epoch:
            self._epoch = self._hold.epoch
            self._after.clear()
            self._committed.clear()
            events.append(Wiped())
        return events

    def _read(self, items: list[NewsItem], receipts: Receipts, evaluated: Callable[[Completion], None]) -> list[Event]:
        answers: list[Answer] = []
        left = receipts.outstanding

        def claimed(items: list[NewsItem]) -> list[Claim]:
            nonlocal left
            claims = self._claims(items, receipts, evaluated, answers)
            left -= len(claims)
            if claims and left <= 0:
                self._glance.begin()  # these may be the last, and before the freeze the control is looked at
            return claims

        few = left <= GATHER_CLIENTS  # else news comes in so often that it is better read by the heap
        answers += receipts.receive(claimed(items), (lambda seconds: claimed(self._more(seconds))) if few else None)
        return [Answers(tuple(answers))] if answers else []

    def _more(self, seconds: float) -> list[NewsItem]:
        """News that comes while updates are examined. Where there is none to be had, `listen` will say so."""
        try:
            items = self._house.news.read(self._spec.job, self._spec.sources, self._after, seconds)
        except (BrokerError, StorageError):
            self._stop.wait(seconds)
            return []
        self._read_since += len(items)
        return items

    def _claims(
        self,
        items: list[NewsItem],
        receipts: Receipts,
        evaluated: Callable[[Completion], None],
        answers: list[Answer],
    ) -> list[Claim]:
        """The updates that are told of; what else clients answer is added to the answers."""
        claims: list[Claim] = []
        for item in items:
            self._after[item.source] = item.id
            self._nudged |= item.source == "control"
            told = None if item.source == "control" else self._completion(item)
            if told is None:
                continue
            if told.kind in ("evaluate", "test"):
                evaluated(told)
            elif receipts.concerns(told.round, told.client):
                if told.outcome == "updated":
                    claims.append(Claim(_name(told, item.source), told.digest, told.size))
                else:
                    why = str(told.failure or told.outcome)
                    answers.append(Answer(told.client, _outcome(told), told.attempt, why, round=told.round))
        return claims

    def _completion(self, item: NewsItem) -> Completion | None:
        """The completion, if it can be read and its sender may speak for this client."""
        try:
            told = decode(item.body, Completion)
        except MessageUnreadable as error:
            log.warning("set aside a completion from %s: %s", item.source, error, extra={"job": self._spec.job})
            return None
        mine = told.job == self._spec.job and item.source in self._spec.sources
        pool = not self._spec.sites
        if mine and (pool or told.client == item.source.removeprefix("site.")):
            return told
        log.warning("set aside a completion for %s from %s", told.client, item.source, extra={"job": self._spec.job})
        return None


def _name(told: Completion, source: str) -> UpdateName:
    return UpdateName(told.job, told.round, source, told.client, told.attempt, told.parcel or "")


def _outcome(told: Completion) -> Literal["dead", "failed"]:
    return "dead" if told.outcome == "dead" else "failed"
