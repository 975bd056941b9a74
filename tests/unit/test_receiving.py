"""Updates that are told of while others are examined: begun at once, answered in order, each once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from made.committed import spec_of

from warren.aggregator.events import Answer, Answers
from warren.aggregator.hearing import Hearing
from warren.aggregator.ports import UpdateRejected
from warren.aggregator.receipts import OBJECTS_MAX, Claim, Receipts
from warren.aggregator.service import beside
from warren.broker.completions import NewsItem
from warren.broker.errors import BrokerUnavailable
from warren.broker.messages import Completion, encode
from warren.storage.job import JobSpec
from warren.storage.keys import UpdateName

LARGE = 1 << 20
WAIT_SECONDS = 10.0


def at_once(call: Callable[..., Any], *given: Any) -> Any:
    return call(*given)


at_once.check = lambda: None  # type: ignore[attr-defined]


class Numbers:
    """Examines an update once it is let; says which are under way."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.let: dict[str, threading.Event] = {}
        self.offered: list[str] = []
        self.bad: set[str] = set()
        self._changed = threading.Condition()

    def hold(self, *clients: str) -> None:
        self.let |= {client: threading.Event() for client in clients}

    def examine(self, name: UpdateName, *_: Any) -> Any:
        with self._changed:
            self.begun.append(name.client)
            self._changed.notify_all()
        if name.client in self.let:
            assert self.let[name.client].wait(WAIT_SECONDS)
        if name.client in self.bad:
            raise UpdateRejected("bad")
        return SimpleNamespace(client=name.client)

    def wait_for(self, *clients: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: set(clients) <= set(self.begun), WAIT_SECONDS)

    def offer(self, spec: JobSpec, number: int, entry: Any, order: Any) -> None:
        self.offered.append(entry.client)


@contextmanager
def receipts(count: int, numbers: Numbers) -> Iterator[Receipts]:
    spec = spec_of("j", 1, clients=count)
    with ThreadPoolExecutor(4) as pool:
        house: Any = SimpleNamespace(
            numbers=numbers, begin=beside(pool), store=SimpleNamespace(local_path=lambda _: None)
        )
        made = Receipts(house, spec, 1, None, at_once)  # type: ignore[arg-type]
        made.ask(tuple(spec.client_names))
        yield made


def claim(client: str, attempt: str = "a", size: int = LARGE) -> Claim:
    return Claim(UpdateName("j", 1, "pool.default", client, attempt), None, size)


def test_what_comes_meanwhile_is_examined_beside_and_answered_in_order() -> None:
    numbers = Numbers()
    numbers.hold("c000", "c001")
    with receipts(3, numbers) as made:
        waits = [[claim("c001")], []]

        def more(_: float) -> list[Claim]:
            if waits:
                return waits.pop(0)
            numbers.wait_for("c000", "c001")  # both are under way
            numbers.let["c001"].set()  # ends first, and still counts second
            numbers.let["c000"].set()
            return []

        answers = made.receive([claim("c000")], more)
    assert [answer.client for answer in answers] == numbers.offered == ["c000", "c001"]


def test_nobody_waits_for_more_when_all_are_there() -> None:
    numbers = Numbers()

    def more(_: float) -> list[Claim]:
        raise AssertionError("asked for more than all")

    with receipts(2, numbers) as made:
        answers = made.receive([claim("c000"), claim("c001")], more)
    assert [answer.outcome for answer in answers] == ["valid", "valid"]


def test_what_is_told_twice_is_examined_once() -> None:
    numbers = Numbers()
    numbers.hold("c000")
    with receipts(3, numbers) as made:
        told = [[claim("c000"), claim("c001")], [claim("c001")]]

        def more(_: float) -> list[Claim]:
            if not told:
                numbers.let["c000"].set()
                return []
            return told.pop()

        answers = made.receive([claim("c000"), claim("c000")], more)
    assert sorted(numbers.begun) == ["c000", "c001"]
    assert [answer.client for answer in answers] == ["c000", "c001"]


def test_a_flood_of_news_ends_by_itself() -> None:
    numbers = Numbers()
    numbers.hold("c000")
    asked: list[str] = []
    with receipts(1000, numbers) as made:

        def more(_: float) -> list[Claim]:
            asked.append(f"c{len(asked) + 1:03}")
            if len(asked) == OBJECTS_MAX - 1:
                numbers.let["c000"].set()
            return [claim(asked[-1])]

        answers = made.receive([claim("c000")], more)
    assert len(answers) == OBJECTS_MAX


@pytest.mark.parametrize("size", [100, LARGE])
def test_one_that_is_rejected_leaves_the_others_alone(size: int) -> None:
    numbers = Numbers()
    numbers.bad.add("c001")
    with receipts(3, numbers) as made:
        answers = made.receive([claim(f"c{n:03}", size=size) for n in range(3)], lambda _: [])
    assert [answer.outcome for answer in answers] == ["valid", "rejected", "valid"]
    assert numbers.offered == ["c000", "c002"]


def test_who_leaves_does_not_begin_what_waits() -> None:
    numbers = Numbers()
    numbers.hold("c000", "c001", "c002", "c003")

    def leave(_: float) -> list[Claim]:
        numbers.wait_for("c000", "c001", "c002", "c003")  # no thread is left
        raise BrokerUnavailable("gone")

    with receipts(8, numbers) as made:
        with pytest.raises(BrokerUnavailable):
            made.receive([claim(f"c00{n}") for n in range(6)], leave)
        for let in numbers.let.values():
            let.set()
    assert sorted(numbers.begun) == ["c000", "c001", "c002", "c003"]


class News:
    """Gives its items one reading after the other; a reading may fail."""

    def __init__(self, *readings: list[NewsItem] | BrokerUnavailable) -> None:
        self.left = list(readings)

    def read(self, job: str, sources: Any, after: Any, seconds: float) -> list[NewsItem]:
        found = self.left.pop(0) if self.left else []
        if isinstance(found, BrokerUnavailable):
            raise found
        return found


def told(client: str, number: int, outcome: str = "updated") -> NewsItem:
    said = {"job": "j", "round": 1, "kind": "train", "client": client, "attempt": "a", "trainer": "t"}
    more = {"size": LARGE, "digest": "0" * 64} if outcome == "updated" else {}
    return NewsItem(
        "pool.default", f"{number}-0", encode(Completion.model_validate({**said, "outcome": outcome, **more}))
    )


@pytest.mark.parametrize("failing", [False, True])
def test_a_leader_hears_of_an_update_a_failure_and_a_command_while_it_examines(failing: bool) -> None:
    numbers = Numbers()
    numbers.hold("c000")
    looks: list[str] = []
    meanwhile: list[Any] = [[told("c001", 2), told("c002", 3, "failed")], [NewsItem("control", "4-0", b"")]]
    news = News([told("c000", 1)], *([BrokerUnavailable("gone")] if failing else []), *meanwhile)
    read = news.read

    def reading(*given: Any) -> list[NewsItem]:
        if not news.left:
            numbers.let["c000"].set()
        return read(*given)

    news.read = reading  # type: ignore[method-assign]
    with receipts(4, numbers) as made:
        made.house.news, made.house.ledger = news, SimpleNamespace(now=lambda: 1.0)  # type: ignore[misc]
        stop, hold = threading.Event(), SimpleNamespace(epoch="e", held=True)
        glance = SimpleNamespace(drop=lambda: None, begin=lambda: looks.append("glance"))
        control: Any = lambda: looks.append("control") or SimpleNamespace(command="pause")  # noqa: E731
        hearing = Hearing(made.house, made.spec, hold, stop, control, glance)  # type: ignore[arg-type]
        events = hearing.listen(made, None, lambda _: None)
    (heard,) = (event for event in events if isinstance(event, Answers))
    assert {(answer.client, answer.outcome) for answer in heard.answers} == {
        ("c000", "valid"),
        ("c001", "valid"),
        ("c002", "failed"),
    }
    assert isinstance(heard.answers[0], Answer)
    assert looks == ["control"]  # a client is still out
