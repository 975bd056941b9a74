"""What a consumer holds ahead while its work is short, in memory and on RabbitMQ; nobody goes without for it."""

from __future__ import annotations

import contextlib

from contract.deliveries import publish, take, taken, text

from warren.broker.ports import Broker

ABSENT_SECONDS = 0.3  # long enough for a message that should not come to come


def test_a_consumer_may_be_allowed_more_and_fewer(broker: Broker, rounds: str) -> None:
    publish(broker, rounds, *"abcdef")
    with contextlib.closing(broker.consume([rounds])) as consumer:
        first = take(consumer)
        assert consumer.take(ABSENT_SECONDS) is None
        first.ack()
        consumer.allow(3)
        several = [take(consumer) for _ in range(3)]
        assert [text(one) for one in (first, *several)] == ["a", "b", "c", "d"]
        assert consumer.take(ABSENT_SECONDS) is None
        for delivery in several:
            delivery.ack()
        consumer.allow(1)
        last = take(consumer)
        assert text(last) == "e"
        assert consumer.take(ABSENT_SECONDS) is None


def test_what_waits_behind_the_long_work_of_one_that_may_hold_more_is_there_for_another(
    broker: Broker, rounds: str
) -> None:
    publish(broker, rounds, *"abcd")
    with contextlib.closing(broker.consume([rounds])) as busy, contextlib.closing(broker.consume([rounds])) as idle:
        busy.allow(4)
        idle.allow(4)
        long = take(busy)
        found = [take(idle) for _ in range(3)]
        assert {text(one) for one in found} == set("abcd") - {text(long)}
        for delivery in (long, *found):
            delivery.ack()
        publish(broker, rounds, "e")
        idle.close()
        assert taken(busy) == "e"
