"""What RabbitMQ turns away, and the words that a person reads then: the mend, and never the password."""

from __future__ import annotations

import contextlib
import secrets
import time
from urllib.parse import urlsplit

import pytest
from servers.process import free_port
from servers.rabbit import RabbitServer

from warren.broker.errors import BrokerRefused, BrokerUnavailable
from warren.broker.ports import Outgoing
from warren.broker.rabbit import RabbitBroker
from warren.broker.topology import rounds_queue

pytestmark = pytest.mark.services


@pytest.fixture
def url(rabbit: RabbitServer) -> str:
    """A virtual host of a server whose users and queues these tests may change."""
    rabbit.ensure()
    return rabbit.fresh_url()


def test_a_queue_of_another_shape_is_refused_with_the_mend(rabbit: RabbitServer, url: str) -> None:
    name, host = rounds_queue("pool.other"), url.rpartition("/")[2]
    rabbit.api("PUT", f"queues/{host}/{name}", {"durable": True, "arguments": {}})
    with (
        contextlib.closing(RabbitBroker(url, name="shape")) as broker,
        pytest.raises(BrokerRefused, match="delete it"),
    ):
        broker.declare([name])


def test_a_wrong_password_is_refused_without_being_shown(url: str) -> None:
    wrong = url.replace("guest:guest@", "guest:s3cret@")
    with (
        contextlib.closing(RabbitBroker(wrong, name="wrong")) as broker,
        pytest.raises(BrokerRefused, match="password") as caught,
    ):
        broker.declare(["q"])
    assert "s3cret" not in str(caught.value)


def test_a_missing_vhost_is_refused_by_name(url: str) -> None:
    with (
        contextlib.closing(RabbitBroker(f"{url.rpartition('/')[0]}/nowhere", name="vhost")) as broker,
        pytest.raises(BrokerRefused, match="nowhere"),
    ):
        broker.depth("q")


def test_what_a_site_may_not_do_is_refused(rabbit: RabbitServer, url: str) -> None:
    queue = rounds_queue("site.theirs")
    with contextlib.closing(RabbitBroker(url, name="setup")) as broker:
        broker.declare([queue])
    host, user = url.rpartition("/")[2], f"site-{secrets.token_hex(4)}"
    rabbit.add_user(user, "pw", host, {"configure": "", "write": "", "read": r"rounds\.v1\.site\.mine"})
    theirs = url.replace("guest:guest@", f"{user}:pw@")
    with contextlib.closing(RabbitBroker(theirs, name="site", publish_seconds=5)) as broker:
        for verb in (
            lambda: broker.declare([rounds_queue("site.new")]),
            lambda: broker.consume([queue]),
            lambda: broker.publish([Outgoing(queue, b"x")]),
        ):
            with pytest.raises(BrokerRefused, match=r"(?i)access"):
                verb()


def test_nobody_listening_is_unavailable_within_the_bound(url: str) -> None:
    with contextlib.closing(
        RabbitBroker(url.replace(f":{urlsplit(url).port}/", f":{free_port()}/"), name="nobody", connect_seconds=1)
    ) as broker:
        start = time.monotonic()
        with pytest.raises(BrokerUnavailable, match="refused"):
            broker.depth("q")
        assert time.monotonic() - start < 10
