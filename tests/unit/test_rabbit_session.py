"""One life of a RabbitMQ connection: who waits for an answer hears of its end."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from warren.broker.errors import BrokerUnavailable
from warren.broker.rabbit_link import Session


@pytest.mark.parametrize("count", [1, 2, 5])
def test_all_who_wait_hear_that_the_connection_broke(count: int) -> None:
    session = Session(None)
    answers: list[Future[None]] = [Future() for _ in range(count)]
    for answer in answers:
        session.wait_for(answer)
    session.end()
    for answer in answers:
        with pytest.raises(BrokerUnavailable, match="broke"):
            answer.result(0)


def test_who_waits_on_a_connection_that_is_gone_hears_it_at_once() -> None:
    session = Session(None)
    session.end()
    answer: Future[None] = Future()
    session.wait_for(answer)
    with pytest.raises(BrokerUnavailable, match="broke"):
        answer.result(0)
