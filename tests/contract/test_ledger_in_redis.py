"""What the ledger in Redis promises beside the contract: faults, rights, secrets, rubbish."""

from __future__ import annotations

import threading
import time
import uuid

import fakeredis
import pytest

from warren.links import redis_link
from warren.storage.errors import StorageRefused, StorageUnavailable
from warren.storage.ledger import PRESENCE_BYTES_MAX, TIME_KEPT_SECONDS, RedisLedger, connect
from warren.storage.ports import Presence

LONG = 3600.0  # seconds: does not end within a test
PATIENCE = 10.0  # seconds that a thread may take


@pytest.fixture
def job() -> str:
    return f"job-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def embedded() -> tuple[fakeredis.FakeServer, RedisLedger]:
    server = fakeredis.FakeServer()
    return server, RedisLedger(fakeredis.FakeRedis(server=server))


def test_of_many_threads_one_gets_the_lease(embedded: tuple[fakeredis.FakeServer, RedisLedger]) -> None:
    won: list[str] = []
    start = threading.Barrier(8)

    def contend(nonce: str) -> None:
        start.wait()
        if embedded[1].acquire("job", nonce, LONG):
            won.append(nonce)

    threads = [threading.Thread(target=contend, args=(f"n{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert won == [embedded[1].holder("job")]


def test_redis_time_is_carried_on_for_a_second_and_then_asked_for_again(redis_url: str) -> None:
    ours = [100.0]
    ledger, there = RedisLedger(connect(redis_url), lambda: ours[0]), connect(redis_url)

    def asked() -> int:
        return int(there.info("commandstats").get("cmdstat_time", {"calls": 0})["calls"])

    before, first = asked(), ledger.now()
    ours[0] += 0.5
    assert ledger.now() == pytest.approx(first + 0.5)
    assert asked() == before + 1
    ours[0] += TIME_KEPT_SECONDS
    assert abs(ledger.now() - first) < PATIENCE  # Redis' own, on which ours has no part
    assert asked() == before + 2
    there.close()


@pytest.mark.parametrize(
    "said", [b"\xff\x00", b"[1]", b'{"a": ', b"[" * 5000, b'{"a": "' + b"x" * PRESENCE_BYTES_MAX + b'"}']
)
def test_a_presence_that_cannot_be_read_is_said_and_the_others_stay(said: bytes) -> None:
    client = fakeredis.FakeRedis()
    ledger = RedisLedger(client)
    ledger.announce(Presence("trainer", "a", {"state": "idle"}), LONG)
    client.set("warren:presence:trainer:b", said)
    client.rpush("warren:presence:trainer:c", "a list")
    states = [there.fields["state"] for there in ledger.presences("trainer")]
    assert states == ["idle", "unreadable", "unreadable"]


def test_a_ledger_that_is_away_is_unavailable_within_the_bound(
    embedded: tuple[fakeredis.FakeServer, RedisLedger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_link, "RETRY_SECONDS_MAX", 0.2)
    server, ledger = embedded
    server.connected = False
    began = time.monotonic()
    with pytest.raises(StorageUnavailable):
        ledger.now()
    assert time.monotonic() - began < 2
    server.connected = True
    assert ledger.now() > 0


def test_a_ledger_that_comes_back_within_the_bound_is_not_noticed(
    embedded: tuple[fakeredis.FakeServer, RedisLedger],
) -> None:
    server, ledger = embedded
    server.connected = False
    back = threading.Timer(0.2, lambda: setattr(server, "connected", True))
    back.start()
    assert ledger.acquire("job", "one", LONG)
    back.join()


def test_a_broken_connection_is_made_again(redis_url: str, job: str) -> None:
    client, other = connect(redis_url), connect(redis_url)
    ledger = RedisLedger(client)
    assert ledger.acquire(job, "one", LONG)
    other.execute_command("CLIENT", "KILL", "ID", client.client_id())
    assert ledger.renew([job], "one", LONG).held == {job}


def test_a_full_redis_costs_no_job_its_leader(redis_url: str, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_link, "RETRY_SECONDS_MAX", 0.1)
    admin, ledger = connect(redis_url), RedisLedger(connect(redis_url))
    assert ledger.acquire(job, "one", 1.0)
    epoch = ledger.renew([job], "one", 1.0).epoch
    admin.config_set("maxmemory", 1)
    try:
        pulse = ledger.renew([job], "one", LONG)
        with pytest.raises(StorageUnavailable, match="Raise maxmemory"):
            ledger.set_progress(job, {"state": "running"})
    finally:
        admin.config_set("maxmemory", 0)
    assert (pulse.held, pulse.epoch) == ({job}, epoch)


def test_scripts_that_the_server_forgot_are_loaded_again(redis_url: str, job: str) -> None:
    client = connect(redis_url)
    ledger = RedisLedger(client)
    assert ledger.acquire(job, "one", LONG)
    client.script_flush()
    assert not ledger.acquire(job, "two", LONG)


def test_a_wrong_password_is_refused_at_once_and_never_shown(redis_url: str) -> None:
    address = redis_url.partition("@")[2] or redis_url.partition("://")[2]
    ledger = RedisLedger(connect(f"redis://somebody:s3cr3t-word@{address}"))
    began = time.monotonic()
    with pytest.raises(StorageRefused, match="user or password") as refused:
        ledger.now()
    assert time.monotonic() - began < redis_link.RETRY_SECONDS_MAX
    assert "s3cr3t-word" not in str(refused.value)


def test_a_trainer_needs_no_more_rights_than_the_table_says(redis_url: str, job: str) -> None:
    admin = connect(redis_url)
    user = f"user-{job}"
    rights = ["+get", "+hgetall", "+time", "+set", "%R~warren:*", "%W~warren:presence:trainer:site.a*"]
    admin.execute_command("ACL", "SETUSER", user, "on", ">word", "resetkeys", "-@all", *rights)
    try:
        address = redis_url.partition("@")[2] or redis_url.partition("://")[2]
        ledger = RedisLedger(connect(f"redis://{user}:word@{address}"))
        assert ledger.now() > 0
        assert (ledger.holder(job), ledger.progress(job)) == (None, {})
        ledger.announce(Presence("trainer", f"site.a.{job}"), 1.0)
        for forbidden in (
            lambda: ledger.announce(Presence("trainer", "site.b.1"), 1.0),
            lambda: ledger.acquire(job, "one", LONG),
            lambda: ledger.set_progress(job, {"state": "done"}),
        ):
            with pytest.raises(StorageRefused, match="ACL SETUSER"):
                forbidden()
    finally:
        admin.execute_command("ACL", "DELUSER", user)


def test_an_address_that_cannot_be_read_is_refused_without_its_secrets() -> None:
    with pytest.raises(StorageRefused, match="redis://host") as refused:
        connect("http://somebody:s3cr3t-word@host")
    assert "s3cr3t-word" not in str(refused.value)
