"""One more taken beside what is on its way out, in memory and on RabbitMQ; nobody goes without for it."""

from __future__ import annotations

import contextlib
import time

from contract.deliveries import eventually, publish, take, taken, text

from warren.broker.ports import Broker

ABSENT_SECONDS = 0.4  # long enough for a message that should not come to come, and for a queue to rest


def test_a_consumer_may_be_allowed_more_and_fewer(broker: Broker, rounds: str) -> None:
    publish(broker, rounds, *"abcdef")
    with contextlib.closing(broker.consume([rounds])) as consumer:
        first = take(consumer)
        assert consumer.take(ABSENT_SECONDS) is None
        consumer.allow(3)
        several = [first, take(consumer), take(consumer)]
        assert [text(one) for one in several] == ["a", "b", "c"]
        assert consumer.take(ABSENT_SECONDS) is None
        for delivery in several:
            delivery.ack()
        consumer.allow(1)
        last = take(consumer)
        assert text(last) == "d"
        assert consumer.take(ABSENT_SECONDS) is None
        last.ack()
        assert [taken(consumer), taken(consumer)] == ["e", "f"]


def test_one_after_the_other_taken_beside_the_one_before_all_come_once_and_in_order(
    broker: Broker, rounds: str
) -> None:
    publish(broker, rounds, *map(str, range(40)))
    with contextlib.closing(broker.consume([rounds])) as consumer:
        consumer.allow(2)
        leaving, found = take(consumer), []
        for _ in range(39):
            following = take(consumer)
            found.append(text(leaving))
            leaving.ack()
            leaving = following
        leaving.ack()
        assert [*found, text(leaving)] == [str(number) for number in range(40)]
        assert consumer.take(ABSENT_SECONDS) is None
    assert eventually(lambda: broker.depth(rounds) == (0, 0))


def test_no_message_waits_behind_the_work_that_was_taken_beside_another(broker: Broker, rounds: str) -> None:
    publish(broker, rounds, "a", "b")
    with contextlib.closing(broker.consume([rounds])) as busy:
        busy.allow(2)
        leaving, beside = take(busy), take(busy)
        leaving.ack()
        publish(broker, rounds, *"cde")
        with contextlib.closing(broker.consume([rounds])) as idle:
            assert [taken(idle), taken(idle), taken(idle)] == ["c", "d", "e"]
        beside.ack()
        publish(broker, rounds, "f")
        assert taken(busy) == "f"


def test_what_comes_while_long_work_goes_on_is_taken_after_it(broker: Broker, rounds: str) -> None:
    publish(broker, rounds, "a", "b")
    with contextlib.closing(broker.consume([rounds])) as consumer:
        consumer.allow(2)
        leaving, beside = take(consumer), take(consumer)
        leaving.ack()
        assert consumer.take(ABSENT_SECONDS) is None
        publish(broker, rounds, *"cde")
        following = take(consumer)
        beside.ack()
        assert text(following) == "c"
        assert taken(consumer) == "d"
        following.ack()
        assert taken(consumer) == "e"


def test_one_that_comes_while_another_is_on_its_way_out_is_not_waited_for_in_vain(broker: Broker, rounds: str) -> None:
    publish(broker, rounds, "a")
    with contextlib.closing(broker.consume([rounds])) as consumer:
        consumer.allow(2)
        leaving = take(consumer)
        assert consumer.take(0.0) is None
        publish(broker, rounds, "b")
        assert taken(consumer) == "b"
        leaving.ack()


def test_an_earlier_queue_comes_first_beside_another_too(broker: Broker, rounds: str, evaluations: str) -> None:
    publish(broker, rounds, "r1", "r2")
    publish(broker, evaluations, "e1", "e2")
    with contextlib.closing(broker.consume([rounds, evaluations])) as consumer:
        consumer.allow(2)
        leaving, order = take(consumer), []
        for _ in range(3):
            following = take(consumer)
            order.append(text(following))
            leaving.ack()
            leaving = following
        assert order == ["r2", "e1", "e2"]


def test_what_was_settled_stays_settled_when_its_consumer_closes_beside_other_work(broker: Broker, rounds: str) -> None:
    publish(broker, rounds, "a", "b")
    consumer = broker.consume([rounds])
    consumer.allow(2)
    done, _ = take(consumer), take(consumer)
    done.ack()
    consumer.close()
    with contextlib.closing(broker.consume([rounds])) as another:
        again = take(another)
        assert (text(again), again.deliveries_before) == ("b", 1)
        again.ack()
        assert another.take(ABSENT_SECONDS) is None


def test_a_message_that_was_asked_for_says_how_often_it_came_back(broker: Broker, rounds: str) -> None:
    publish(broker, rounds, "a", "b")
    with contextlib.closing(broker.consume([rounds])) as consumer:
        consumer.allow(2)
        first = take(consumer)
        take(consumer).requeue()
        again = take(consumer)
        assert (text(again), again.deliveries_before) == ("b", 1)
        first.ack()
        again.ack()


def test_after_long_work_beside_another_the_next_is_taken_beside_it(broker: Broker, rounds: str) -> None:
    publish(broker, rounds, *"abcd")
    with contextlib.closing(broker.consume([rounds])) as consumer:
        consumer.allow(2)
        first, second = take(consumer), take(consumer)
        first.ack()
        time.sleep(ABSENT_SECONDS)  # RabbitMQ's consumer rests the queue
        third = take(consumer)
        second.ack()
        assert [text(third), taken(consumer)] == ["c", "d"]
        third.ack()
        assert consumer.take(0.0) is None
        publish(broker, rounds, "e")
        assert taken(consumer) == "e"


def test_where_one_came_more_are_there_at_once(broker: Broker, rounds: str) -> None:
    """A queue that was empty just now is not asked for a while; a message that it sends ends that."""
    with contextlib.closing(broker.consume([rounds])) as consumer:
        consumer.allow(8)
        for wave in ("abcd", "efgh"):
            publish(broker, rounds, *wave)
            several = [take(consumer), *(consumer.take(0.0) for _ in range(3))]
            assert [one and text(one) for one in several] == list(wave)
            assert consumer.take(0.0) is None
            for delivery in several:
                assert delivery is not None
                delivery.ack()
    assert eventually(lambda: broker.depth(rounds) == (0, 0))


def test_what_was_asked_for_ahead_does_not_wait_behind_work_that_is_not_short(broker: Broker, rounds: str) -> None:
    publish(broker, rounds, *"abc")
    with contextlib.closing(broker.consume([rounds])) as busy:
        busy.allow(8)
        in_hand = [take(busy), take(busy)]
        with contextlib.closing(broker.consume([rounds])) as idle:
            assert taken(idle) == "c"
        for delivery in in_hand:
            delivery.ack()
    assert eventually(lambda: broker.depth(rounds) == (0, 0))
