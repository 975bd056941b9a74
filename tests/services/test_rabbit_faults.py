"""RabbitMQ's own ways to fail: cut and stalled connections, alarms, restarts. Nothing is lost in silence."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from servers.proxy import FaultProxy
from servers.rabbit import RabbitServer

from warren.broker.errors import BrokerRefused, BrokerUnavailable
from warren.broker.ports import Consumer, Delivery, Outgoing
from warren.broker.rabbit import RabbitBroker
from warren.broker.topology import rounds_queue

pytestmark = pytest.mark.services
ARRIVES_SECONDS = 30.0


@pytest.fixture
def url(rabbit: RabbitServer) -> Iterator[str]:
    """A virtual host on the server that these tests may hurt."""
    rabbit.ensure()
    made = rabbit.fresh_url()
    yield made
    rabbit.ensure()
    rabbit.forget_url(made)


@pytest.fixture
def queue(url: str) -> str:
    name = rounds_queue(f"pool.{secrets.token_hex(4)}")
    with contextlib.closing(RabbitBroker(url, name="setup")) as broker:
        broker.declare([name])
    return name


@pytest.fixture
def proxy(url: str) -> Iterator[FaultProxy]:
    with FaultProxy(urlsplit(url).port or 5672) as made:
        yield made


@pytest.fixture
def through(url: str, proxy: FaultProxy) -> Iterator[RabbitBroker]:
    """A broker whose connections the proxy can break."""
    with contextlib.closing(RabbitBroker(at_port(url, proxy.port), name="through", publish_seconds=5)) as made:
        yield made


def test_a_cut_connection_brings_the_unsettled_message_again_by_itself(
    through: RabbitBroker, proxy: FaultProxy, queue: str
) -> None:
    publish(through, queue, "a", "b")
    with contextlib.closing(through.consume([queue])) as consumer:
        before = take(consumer)
        proxy.cut()
        again = take(consumer)
        assert (again.body, again.deliveries_before) == (b"a", 1)
        before.ack()  # of the connection that is gone
        again.ack()
        last = take(consumer)
        assert last.body == b"b"
        last.ack()
        assert consumer.take(0.3) is None


def test_what_is_published_while_connections_are_cut_arrives_or_is_named_unavailable(
    through: RabbitBroker, url: str, proxy: FaultProxy, queue: str
) -> None:
    confirmed: list[str] = []
    stop = threading.Event()

    def cut_often() -> None:
        while not stop.wait(0.2):
            proxy.cut()

    cutting = threading.Thread(target=cut_often)
    cutting.start()
    try:
        for batch in range(20):
            texts = [f"{batch}-{number}" for number in range(50)]
            with contextlib.suppress(BrokerUnavailable):
                publish(through, queue, *texts)
                confirmed += texts
    finally:
        stop.set()
        cutting.join()
    assert proxy.accepted > 3
    with (
        contextlib.closing(RabbitBroker(url, name="count")) as broker,
        contextlib.closing(broker.consume([queue], prefetch=100)) as consumer,
    ):
        arrived = set(drain(consumer))
    assert set(confirmed) <= arrived
    assert confirmed


def test_a_network_that_drops_for_longer_than_the_heartbeat_is_outlived(
    url: str, proxy: FaultProxy, queue: str
) -> None:
    short = f"{at_port(url, proxy.port)}?heartbeat=1"
    with (
        contextlib.closing(RabbitBroker(short, name="dropped", publish_seconds=5)) as broker,
        contextlib.closing(broker.consume([queue])) as consumer,
    ):
        publish(broker, queue, "a")
        assert take(consumer).body == b"a"
        before = proxy.accepted
        with proxy.stalled():
            assert eventually(lambda: proxy.accepted >= before + 2), "both connections must be given up"
        assert take_and_ack(consumer) == "a"
        publish(broker, queue, "b")
        assert take_and_ack(consumer) == "b"


def test_a_publish_sends_again_what_a_cut_left_unconfirmed(
    through: RabbitBroker, proxy: FaultProxy, queue: str
) -> None:
    publish(through, queue, "first")
    publishing = threading.Thread(target=publish, args=(through, queue, *map(str, range(500))))
    with proxy.stalled():
        publishing.start()
        assert eventually(lambda: publishing.is_alive() and proxy.connections > 0)
        proxy.cut()
    publishing.join(ARRIVES_SECONDS)
    assert not publishing.is_alive()
    with contextlib.closing(through.consume([queue], prefetch=100)) as consumer:
        assert {"first", *map(str, range(500))} == set(drain(consumer))


def test_a_question_that_is_under_way_when_the_connection_breaks_is_asked_again(
    through: RabbitBroker, proxy: FaultProxy, queue: str
) -> None:
    publish(through, queue, "a")
    answers: list[tuple[int, int] | None] = []
    asking = threading.Thread(target=lambda: answers.append(through.depth(queue)))
    with proxy.stalled():
        asking.start()
        asking.join(0.5)  # the question is on its way, and gets no answer
        proxy.cut()
    asking.join(ARRIVES_SECONDS)
    assert answers == [(1, 0)]
    publish(through, queue, "b")


def test_without_a_server_a_publish_is_unavailable_within_its_bound(
    through: RabbitBroker, proxy: FaultProxy, queue: str
) -> None:
    publish(through, queue, "a")
    proxy.refuse()
    start = time.monotonic()
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1"):
        publish(through, queue, "b")
    assert time.monotonic() - start < 15
    proxy.accept()
    publish(through, queue, "c")


def test_a_consumer_outlives_a_killed_server(rabbit: RabbitServer, url: str, queue: str) -> None:
    with (
        contextlib.closing(RabbitBroker(url, name="survivor")) as broker,
        contextlib.closing(broker.consume([queue])) as consumer,
    ):
        publish(broker, queue, "a", "b")
        assert take(consumer).body == b"a"
        rabbit.kill()
        assert consumer.take(0.5) is None
        rabbit.start()
        # In either order: RabbitMQ may notice that whoever held the first is gone after it gave out the second.
        assert {take_and_ack(consumer), take_and_ack(consumer)} == {"a", "b"}
        publish(broker, queue, "c")
        assert take_and_ack(consumer) == "c"


def test_an_alarm_names_itself_and_publishing_goes_on_after_it(rabbit: RabbitServer, url: str, queue: str) -> None:
    with contextlib.closing(RabbitBroker(url, name="alarmed", publish_seconds=3)) as broker:
        publish(broker, queue, "before")
        rabbit.ctl("set_vm_memory_high_watermark", "0.0001")
        try:
            for text in ("during", "again"):
                with pytest.raises(BrokerUnavailable, match="blocks publishers"):
                    publish(broker, queue, text)
            with contextlib.closing(broker.consume([queue])) as consumer:
                assert take_and_ack(consumer) == "before", "the alarm must not reach those who take"
        finally:
            rabbit.ctl("set_vm_memory_high_watermark", "0.6")
        assert eventually(lambda: published(broker, queue, "after"))
        with contextlib.closing(broker.consume([queue], prefetch=10)) as consumer:
            assert "after" in drain(consumer)


def test_a_broker_closes_in_time_while_an_alarm_blocks_it(rabbit: RabbitServer, url: str, queue: str) -> None:
    broker = RabbitBroker(url, name="alarmed", publish_seconds=2)
    publish(broker, queue, "before")
    rabbit.ctl("set_vm_memory_high_watermark", "0.0001")
    try:
        with pytest.raises(BrokerUnavailable):
            publish(broker, queue, "during")
        start = time.monotonic()
        broker.close()
        assert time.monotonic() - start < 10
    finally:
        rabbit.ctl("set_vm_memory_high_watermark", "0.6")


def test_a_deleted_queue_is_refused_by_name_and_taken_from_again_once_it_is_there(
    rabbit: RabbitServer, url: str, queue: str
) -> None:
    with contextlib.closing(RabbitBroker(url, name="deleted")) as broker:
        consumer = broker.consume([queue])
        rabbit.api("DELETE", f"queues/{url.rpartition('/')[2]}/{queue}")
        with pytest.raises(BrokerRefused, match=queue):
            take(consumer)
        broker.declare([queue])
        publish(broker, queue, "x")

        def came() -> bool:
            with contextlib.suppress(BrokerRefused):
                return consumer.take(1.0) is not None
            return False

        assert eventually(came)


def at_port(url: str, port: int) -> str:
    return url.replace(f":{urlsplit(url).port}/", f":{port}/")


def publish(broker: RabbitBroker, queue: str, *texts: str) -> None:
    broker.publish([Outgoing(queue, text.encode()) for text in texts])


def published(broker: RabbitBroker, queue: str, text: str) -> bool:
    with contextlib.suppress(BrokerUnavailable):
        publish(broker, queue, text)
        return True
    return False


def take(consumer: Consumer) -> Delivery:
    delivery = consumer.take(ARRIVES_SECONDS)
    assert delivery is not None, "nothing came"
    return delivery


def take_and_ack(consumer: Consumer) -> str:
    delivery = take(consumer)
    delivery.ack()
    return delivery.body.decode()


def drain(consumer: Consumer) -> list[str]:
    found = []
    while (delivery := consumer.take(1.0)) is not None:
        found.append(delivery.body.decode())
        delivery.ack()
    return found


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + ARRIVES_SECONDS
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
