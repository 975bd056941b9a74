"""What the news in Redis promise beside the contract: faults, rights, secrets."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import fakeredis
import pytest
import redis

from warren.broker.completions import News, connect
from warren.broker.errors import BrokerRefused, BrokerUnavailable
from warren.broker.messages import Completion
from warren.links import redis_link

POOL = "pool.default"
PATIENCE = 10.0  # seconds that an answer may take


@pytest.fixture
def job() -> str:
    return f"job-{uuid.uuid4().hex[:12]}"


def _completion(job: str) -> Completion:
    return Completion(job=job, round=1, kind="train", client="c0", attempt="a1", outcome="updated")


def _blocked_connection(admin: redis.Redis) -> str:
    """The id of the connection that waits in a blocking command, once there is one."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        for entry in admin.client_list():
            if "b" in entry["flags"]:
                return str(entry["id"])
        time.sleep(0.005)
    pytest.fail("no connection blocks")


def test_a_client_of_the_newer_protocol_reads_the_same(redis_url: str, job: str) -> None:
    news = News(redis.Redis.from_url(redis_url, protocol=3))
    assert news.read(job, [POOL], {}, 0) == []
    news.append(_completion(job), POOL)
    news.nudge(job)
    assert [item.source for item in news.read(job, [POOL], {}, 0)] == [POOL, "control"]


def test_news_that_are_away_are_unavailable_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_link, "RETRY_SECONDS_MAX", 0.2)
    server = fakeredis.FakeServer()
    news = News(fakeredis.FakeRedis(server=server))
    server.connected = False
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        news.read("job", [POOL], {}, PATIENCE)
    assert time.monotonic() - began < PATIENCE / 2


def test_an_append_outlasts_a_short_outage() -> None:
    server = fakeredis.FakeServer()
    news = News(fakeredis.FakeRedis(server=server))
    server.connected = False
    back = threading.Timer(0.2, lambda: setattr(server, "connected", True))
    back.start()
    news.append(_completion("job"), POOL)
    back.join()
    assert len(news.read("job", [POOL], {}, 0)) == 1


def test_a_reader_whose_connection_breaks_reads_on(redis_url: str, job: str) -> None:
    admin, news = connect(redis_url), News(connect(redis_url))
    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(news.read, job, [POOL], {}, PATIENCE)
        admin.execute_command("CLIENT", "KILL", "ID", _blocked_connection(admin))
        news.append(_completion(job), POOL)
    assert len(reading.result(PATIENCE)) == 1


def test_a_full_redis_says_so(redis_url: str, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_link, "RETRY_SECONDS_MAX", 0.1)
    admin, news = connect(redis_url), News(connect(redis_url))
    admin.config_set("maxmemory", 1)
    try:
        with pytest.raises(BrokerUnavailable, match="Raise maxmemory"):
            news.append(_completion(job), POOL)
    finally:
        admin.config_set("maxmemory", 0)


def test_a_site_can_append_to_its_own_stream_only(redis_url: str, job: str) -> None:
    admin = connect(redis_url)
    user = f"user-{job}"
    rights = ["+xadd", "+expire", "~completions:*:site.a"]
    admin.execute_command("ACL", "SETUSER", user, "on", ">word", "resetkeys", "-@all", *rights)
    try:
        address = redis_url.partition("@")[2] or redis_url.partition("://")[2]
        news = News(connect(f"redis://{user}:word@{address}"))
        news.append(_completion(job), "site.a")
        with pytest.raises(BrokerRefused, match="ACL SETUSER"):
            news.append(_completion(job), "site.b")
        with pytest.raises(BrokerRefused, match="ACL SETUSER"):
            news.read(job, ["site.a"], {}, 0)
    finally:
        admin.execute_command("ACL", "DELUSER", user)


def test_a_wrong_password_is_refused_and_never_shown(redis_url: str, job: str) -> None:
    address = redis_url.partition("@")[2] or redis_url.partition("://")[2]
    with pytest.raises(BrokerRefused, match="user or password") as refused:
        News(connect(f"redis://somebody:s3cr3t-word@{address}")).nudge(job)
    assert "s3cr3t-word" not in str(refused.value)


def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_link, "RETRY_SECONDS_MAX", 0.1)
    with pytest.raises(BrokerUnavailable, match=r"redis at 127\.0\.0\.1:1:"):
        News(connect("redis://:s3cr3t-word@127.0.0.1:1")).nudge("job")


def test_an_address_that_cannot_be_read_is_refused_without_its_secrets() -> None:
    with pytest.raises(BrokerRefused, match="redis://host") as refused:
        connect("amqp://somebody:s3cr3t-word@host")
    assert "s3cr3t-word" not in str(refused.value)
