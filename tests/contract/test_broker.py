"""What every broker promises: one suite, in memory and on RabbitMQ."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
from contract.deliveries import ARRIVES_SECONDS, eventually, publish, run_all, take, taken, text, the_dead

from warren.broker.errors import BrokerRefused, BrokerUnavailable
from warren.broker.messages import MESSAGE_BYTES_MAX
from warren.broker.ports import Broker, Consumer, Outgoing
from warren.broker.topology import DEAD_LETTERS, DELIVERY_LIMIT, ROUNDS_DEAD

ABSENT_SECONDS = 0.3  # long enough for a message that should not come to come


def test_messages_are_taken_in_the_order_they_were_published(broker: Broker, rounds: str) -> None:
    publish(broker, rounds, *"abcdef")
    with contextlib.closing(broker.consume([rounds])) as consumer:
        assert [taken(consumer) for _ in "abcdef"] == list("abcdef")


def test_body_and_headers_arrive_as_they_were_sent(broker: Broker, rounds: str) -> None:
    body, headers = bytes(range(256)) * 100, {"job": "j1", "client": "żółw ☃", "empty": ""}
    broker.publish([Outgoing(rounds, body, headers)])
    with contextlib.closing(broker.consume([rounds])) as consumer:
        delivery = take(consumer)
    assert (delivery.queue, delivery.body, delivery.deliveries_before) == (rounds, body, 0)
    assert dict(delivery.headers) == headers


def test_what_was_acknowledged_is_gone(broker: Broker, rounds: str) -> None:
    publish(broker, rounds, "a", "b")
    with contextlib.closing(broker.consume([rounds])) as consumer:
        assert taken(consumer) == "a"
    with contextlib.closing(broker.consume([rounds])) as consumer:
        assert taken(consumer) == "b"
        assert consumer.take(ABSENT_SECONDS) is None


def test_a_consumer_that_ends_unsettled_gives_its_message_to_another(broker: Broker, rounds: str) -> None:
    publish(broker, rounds, "a", "b")
    first, second = broker.consume([rounds]), broker.consume([rounds])
    with contextlib.closing(second):
        assert {text(take(first)), taken(second)} == {"a", "b"}
        first.close()
        again = take(second)
        assert again.deliveries_before == 1


def test_what_comes_back_stands_before_what_waits(broker: Broker, rounds: str) -> None:
    publish(broker, rounds, *"abcd")
    with contextlib.closing(broker.consume([rounds], prefetch=2)) as consumer:
        assert [text(take(consumer)), text(take(consumer))] == ["a", "b"]
    with contextlib.closing(broker.consume([rounds], prefetch=1)) as consumer:
        assert [taken(consumer) for _ in "abcd"] == list("abcd")


def test_what_is_handed_back_comes_again(broker: Broker, rounds: str) -> None:
    publish(broker, rounds, "a")
    with contextlib.closing(broker.consume([rounds])) as consumer:
        take(consumer).requeue()
        assert taken(consumer) == "a"


def test_past_the_delivery_limit_a_message_is_a_dead_letter_with_its_headers(broker: Broker, rounds: str) -> None:
    broker.publish([Outgoing(rounds, b"poison", {"job": "j1", "client": "c007"})])
    for returns in range(DELIVERY_LIMIT + 1):
        with contextlib.closing(broker.consume([rounds])) as consumer:
            assert take(consumer).deliveries_before == returns
    dead = the_dead(broker)
    assert (dead.body, dead.headers["job"], dead.headers["client"]) == (b"poison", "j1", "c007")
    assert dead.headers["x-first-death-reason"] == "delivery_limit"
    assert dead.headers["x-first-death-queue"] == rounds
    assert broker.depth(rounds) == (0, 0)


def test_what_is_set_aside_is_a_dead_letter_at_once(broker: Broker, rounds: str) -> None:
    publish(broker, rounds, "unreadable", "fine")
    with contextlib.closing(broker.consume([rounds])) as consumer:
        take(consumer).dead_letter()
        assert taken(consumer) == "fine"
    dead = the_dead(broker)
    assert dead.body == b"unreadable"
    assert dead.headers["x-first-death-reason"] == "rejected"


def test_a_dead_letter_can_be_moved_on_for_a_person(broker: Broker, rounds: str) -> None:
    publish(broker, rounds, "x")
    with contextlib.closing(broker.consume([rounds])) as consumer:
        take(consumer).dead_letter()
    dead = the_dead(broker)
    broker.publish([Outgoing(DEAD_LETTERS, dead.body, dead.headers)])
    with contextlib.closing(broker.consume([DEAD_LETTERS])) as consumer:
        assert take(consumer).headers["x-first-death-queue"] == rounds


def test_no_more_than_prefetch_are_unsettled(broker: Broker, rounds: str) -> None:
    publish(broker, rounds, *"abc")
    with contextlib.closing(broker.consume([rounds], prefetch=2)) as consumer:
        held = [take(consumer), take(consumer)]
        assert consumer.take(ABSENT_SECONDS) is None
        held[0].ack()
        assert taken(consumer) == "c"


@pytest.mark.parametrize("second", ["ack", "requeue", "dead_letter"])
@pytest.mark.parametrize("first", ["ack", "requeue", "dead_letter"])
def test_a_second_verb_does_nothing(broker: Broker, rounds: str, first: str, second: str) -> None:
    publish(broker, rounds, "a", "b")
    with contextlib.closing(broker.consume([rounds])) as consumer:
        delivery = take(consumer)
        getattr(delivery, first)()
        getattr(delivery, second)()
        assert taken(consumer) == ("a" if first == "requeue" else "b")
        assert (consumer.take(ABSENT_SECONDS) is not None) == (first == "requeue")


def test_a_verb_after_its_consumer_closed_does_nothing(broker: Broker, rounds: str) -> None:
    publish(broker, rounds, "a")
    consumer = broker.consume([rounds])
    delivery = take(consumer)
    consumer.close()
    delivery.ack()
    with contextlib.closing(broker.consume([rounds])) as another:
        assert taken(another) == "a"


def test_a_missing_queue_is_refused_by_name_and_the_others_get_theirs(broker: Broker, rounds: str) -> None:
    with pytest.raises(BrokerRefused, match="no-such-queue"):
        broker.publish([Outgoing("no-such-queue", b"1"), Outgoing(rounds, b"2")])
    with contextlib.closing(broker.consume([rounds])) as consumer:
        assert taken(consumer) == "2"


def test_a_missing_queue_is_refused_to_a_consumer(broker: Broker, rounds: str) -> None:
    with pytest.raises(BrokerRefused, match="no-such-queue"):
        broker.consume([rounds, "no-such-queue"])
    assert broker.depth(rounds) == (0, 0)


def test_a_message_over_the_limit_is_refused(broker: Broker, rounds: str) -> None:
    with pytest.raises(BrokerRefused, match=str(MESSAGE_BYTES_MAX)):
        broker.publish([Outgoing(rounds, bytes(MESSAGE_BYTES_MAX + 1))])
    assert broker.depth(rounds) == (0, 0)


def test_earlier_queues_come_before_later_ones(broker: Broker, rounds: str, evaluations: str) -> None:
    publish(broker, evaluations, "e1", "e2")
    publish(broker, rounds, "r1", "r2")
    with contextlib.closing(broker.consume([rounds, evaluations], prefetch=4)) as consumer:
        order = [taken(consumer) for _ in range(4)]
    assert order == ["r1", "r2", "e1", "e2"]


@pytest.mark.parametrize("worked_on", [0, 1])
def test_what_waits_beside_the_work_of_one_is_there_for_another(
    broker: Broker, rounds: str, evaluations: str, worked_on: int
) -> None:
    queues = [rounds, evaluations]
    with contextlib.closing(broker.consume(queues)) as busy:
        publish(broker, queues[worked_on], "long work")
        working = take(busy)
        publish(broker, queues[1 - worked_on], "waits")
        with contextlib.closing(broker.consume(queues)) as idle:
            assert taken(idle) == "waits"
        working.ack()


def test_after_an_evaluation_a_round_comes_before_the_next_evaluation(
    broker: Broker, rounds: str, evaluations: str
) -> None:
    with contextlib.closing(broker.consume([rounds, evaluations])) as consumer:
        publish(broker, evaluations, "e1", "e2", "e3")
        working = take(consumer)
        assert eventually(lambda: (broker.depth(evaluations) or (0, 0))[0] == 2)
        time.sleep(ABSENT_SECONDS)  # RabbitMQ's consumer rests the other queue of a longer work
        publish(broker, rounds, "r1", "r2")
        working.ack()
        assert [taken(consumer) for _ in range(4)] == ["r1", "r2", "e2", "e3"]


def test_take_returns_none_after_its_timeout(broker: Broker, rounds: str) -> None:
    with contextlib.closing(broker.consume([rounds])) as consumer:
        start = time.monotonic()
        assert consumer.take(0.2) is None
        assert 0.2 <= time.monotonic() - start < ARRIVES_SECONDS


def test_take_wakes_for_a_message_that_comes_while_it_waits(broker: Broker, rounds: str) -> None:
    with contextlib.closing(broker.consume([rounds])) as consumer:
        found: list[str] = []
        waiting = threading.Thread(target=lambda: found.append(taken(consumer)))
        waiting.start()
        publish(broker, rounds, "late")
        waiting.join(ARRIVES_SECONDS)
    assert found == ["late"]


def test_close_wakes_a_take_that_waits(broker: Broker, rounds: str) -> None:
    consumer = broker.consume([rounds])
    waiting = threading.Thread(target=lambda: consumer.take(10 * ARRIVES_SECONDS))
    waiting.start()
    consumer.close()
    waiting.join(ARRIVES_SECONDS)
    assert not waiting.is_alive()
    consumer.close()


def test_depth_counts_what_waits_and_who_takes(broker: Broker, rounds: str) -> None:
    assert broker.depth("no-such-queue") is None
    publish(broker, rounds, *"abc")
    assert broker.depth(rounds) == (3, 0)
    with contextlib.closing(broker.consume([rounds])) as consumer:
        take(consumer)
        assert eventually(lambda: broker.depth(rounds) == (2, 1))
    assert eventually(lambda: broker.depth(rounds) == (3, 0))


def test_declaring_again_keeps_what_is_there(broker: Broker, rounds: str) -> None:
    publish(broker, rounds, "a")
    broker.declare([rounds, rounds])
    assert broker.depth(rounds) == (1, 0)
    assert broker.depth(ROUNDS_DEAD) == (0, 0)
    assert broker.depth(DEAD_LETTERS) == (0, 0)


def test_ten_thousand_messages_in_batches_arrive_once_and_in_order(
    broker: Broker, rounds: str, record_property: Callable[[str, object], None]
) -> None:
    count, batch = 10_000, 1000
    start = time.monotonic()
    for first in range(0, count, batch):
        publish(broker, rounds, *map(str, range(first, first + batch)))
    published = time.monotonic()
    with contextlib.closing(broker.consume([rounds], prefetch=200)) as consumer:
        numbers = [int(taken(consumer)) for _ in range(count)]
    ended = time.monotonic()
    record_property("published_per_second", round(count / (published - start)))
    record_property("taken_per_second", round(count / (ended - published)))
    print(f"{count / (published - start):.0f} published/s, {count / (ended - published):.0f} taken/s")
    assert numbers == list(range(count))


def test_threads_that_share_a_broker_publish_and_take_each_message_once(broker: Broker, rounds: str) -> None:
    each, threads = 50, 4
    found: Counter[str] = Counter()

    def take_some(consumer: Consumer) -> None:
        while (delivery := consumer.take(2.0)) is not None:
            found[text(delivery)] += 1
            delivery.ack()

    def publish_some(name: int) -> None:
        for number in range(each):
            publish(broker, rounds, f"{name}-{number}")

    consumers = [broker.consume([rounds], prefetch=3) for _ in range(threads)]
    run_all(
        *(lambda c=c: take_some(c) for c in consumers),
        *(lambda name=name: publish_some(name) for name in range(threads)),
    )
    for consumer in consumers:
        consumer.close()
    assert len(found) == each * threads
    assert set(found.values()) == {1}


def test_a_closed_broker_says_so(broker: Broker, rounds: str) -> None:
    broker.close()
    for verb in (
        lambda: broker.declare([rounds]),
        lambda: broker.depth(rounds),
        lambda: broker.consume([rounds]),
        lambda: broker.publish([Outgoing(rounds, b"x")]),
    ):
        with pytest.raises(BrokerUnavailable, match="closed"):
            verb()
    broker.close()
