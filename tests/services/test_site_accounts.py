"""What a site's account may do on real servers, and that it is refused all else: the table of docs/security.md."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
import redis
from minio import Minio
from minio.error import S3Error
from services.member import WARREN
from services.sites import A, B, House

from warren.broker.declaring import declare_missing
from warren.broker.errors import BrokerRefused
from warren.broker.ports import Outgoing
from warren.broker.rabbit import RabbitBroker
from warren.broker.topology import DEAD_LETTERS, SUBMISSIONS, evaluations_queue, rounds_queue
from warren.storage import keys
from warren.storage.errors import StorageRefused
from warren.storage.s3 import S3Address, S3Store

pytestmark = pytest.mark.services

JOB = "lung-4"
# SCAFFOLD asks for all that a site may do: something is kept for each client, and clients are given the server's state.
JOB_FILE = """task = "synthetic"
sites = ["site-a", "site-b"]
rounds = 2
quorum = 2
deadline = "2m"
[strategy]
name = "scaffold"
"""


@dataclass
class Site:
    """Site A's own connections."""

    store: S3Store
    broker: RabbitBroker
    redis: redis.Redis
    minio: Minio
    bucket: str


@pytest.fixture
def site(house: House) -> Iterator[Site]:
    yield from _site(house.bundles[A])


def _site(bundle: dict[str, str]) -> Iterator[Site]:
    access, secret, bucket = (bundle[f"WARREN_S3_{name}"] for name in ("ACCESS_KEY", "SECRET_KEY", "BUCKET"))
    store = S3Store(S3Address(bundle["WARREN_S3"], access, secret, bucket))
    broker = RabbitBroker(bundle["WARREN_AMQP"], name="site", connect_seconds=5)
    minio = Minio(bundle["WARREN_S3"].partition("://")[2], access_key=access, secret_key=secret, secure=False)
    yield Site(store, broker, redis.Redis.from_url(bundle["WARREN_REDIS"]), minio, bucket)
    broker.close()
    store.close()


def _own_update(site: str = A, attempt: str = "x1") -> str:
    return keys.update(JOB, 1, f"site.{site}", site, attempt)


def test_a_site_puts_lists_and_reads_its_own_updates_and_client_state(site: Site) -> None:
    assert site.store.create(_own_update(), b"update")
    assert site.store.create(_own_update(attempt="x2"), b"large" * 300_000)  # asks first whether it is there
    assert [one.key for one in site.store.list(keys.updates(JOB, 1, f"site.{A}", A))]
    assert site.store.read(_own_update()) == b"update"
    state = keys.client_state(JOB, A, 1, "x1")
    assert site.store.create(state, b"state")
    assert site.store.read(state) == b"state"


def test_a_site_reads_what_a_job_tells_its_trainers(house: House, site: Site) -> None:
    for key in (keys.spec(JOB), keys.task(JOB, "t.py"), keys.manifest(JOB, 1), keys.checkpoint(JOB, 1)):
        house.fleet.store.create(key, b"told")
        assert site.store.read(key) == b"told"
    assert site.store.stat(keys.manifest(JOB, 2)) is None


def test_a_site_takes_from_its_own_queues_and_tells_on_its_own_stream(site: Site) -> None:
    declare_missing(site.broker, [rounds_queue(f"site.{A}"), evaluations_queue(f"site.{A}")])
    consumer = site.broker.consume([rounds_queue(f"site.{A}"), evaluations_queue(f"site.{A}")])
    assert consumer.take(0.1) is None
    consumer.close()
    assert site.redis.xadd(f"completions:{JOB}:site.{A}", {"m": "x"}, maxlen=10)
    assert site.redis.expire(f"completions:{JOB}:site.{A}", 60)
    assert site.redis.set(f"warren:presence:trainer:site.{A}.one", "{}", ex=5)
    assert site.redis.hgetall(f"warren:progress:{JOB}") == {}
    assert site.redis.time()


STORE_REFUSALS: dict[str, Callable[[S3Store], object]] = {
    "reads B's update": lambda store: store.read(_own_update(B)),
    "asks whether B's update is there": lambda store: store.stat(_own_update(B)),
    "lists B's updates": lambda store: list(store.list(keys.updates(JOB, 1, f"site.{B}"))),
    "lists everybody's updates": lambda store: list(store.list(keys.updates(JOB))),
    "lists the bucket": lambda store: list(store.list("")),
    "answers for B": lambda store: store.create(_own_update(B, "forged"), b"mine"),
    "reads B's client state": lambda store: store.read(keys.client_state(JOB, B, 1, "x1")),
    "writes B's client state": lambda store: store.create(keys.client_state(JOB, B, 1, "x2"), b"mine"),
    "makes a checkpoint": lambda store: store.create(keys.checkpoint(JOB, 2), b"mine"),
    "overwrites a checkpoint": lambda store: store.replace(keys.checkpoint(JOB, 1), b"mine", tag="any"),
    "labels a checkpoint": lambda store: store.label(keys.checkpoint(JOB, 1), {"state": "final"}),
    "labels its own update": lambda store: store.label(_own_update(), {"state": "best"}),
    "makes a manifest": lambda store: store.create(keys.manifest(JOB, 2), b"mine"),
    "commands a job": lambda store: store.create(keys.control(JOB, 1), b"mine"),
    "hides among commands": lambda store: store.create(f"jobs/{JOB}/control/clients/{A}/00002.json", b"mine"),
    "hides among checkpoints": lambda store: store.create(f"jobs/{JOB}/checkpoints/clients/{A}/x", b"mine"),
    "changes a task": lambda store: store.create(keys.task(JOB, "u.py"), b"mine"),
    "makes a job": lambda store: store.create(keys.spec("another"), b"mine"),
    "deletes its own update": lambda store: store.delete(_own_update()),
    "deletes B's update": lambda store: store.delete(_own_update(B)),
    "deletes a checkpoint": lambda store: store.delete(keys.checkpoint(JOB, 1)),
    "makes a bucket's neighbour": lambda store: S3Store(
        S3Address(
            store._requests.address.url,
            store._requests.address.access_key,
            store._requests.address.secret_key,
            "another-bucket",
        )
    ).make_bucket(),
}


@pytest.mark.parametrize("what", STORE_REFUSALS)
def test_the_store_refuses_a_site_that(what: str, house: House, site: Site) -> None:
    house.fleet.store.create(_own_update(B), b"of B")
    house.fleet.store.create(keys.client_state(JOB, B, 1, "x1"), b"of B")
    house.fleet.store.create(keys.checkpoint(JOB, 1), b"told")
    with pytest.raises(StorageRefused):
        STORE_REFUSALS[what](site.store)
    assert house.fleet.store.read(keys.checkpoint(JOB, 1)) == b"told"


def test_an_unconditional_put_on_a_checkpoint_is_refused_too(house: House, site: Site) -> None:
    house.fleet.store.create(keys.checkpoint(JOB, 1), b"told")
    with pytest.raises(S3Error, match="Access Denied"):
        site.minio.put_object(
            bucket_name=site.bucket, object_name=keys.checkpoint(JOB, 1), data=BytesIO(b"mine"), length=4
        )


BROKER_REFUSALS: dict[str, Callable[[RabbitBroker], object]] = {
    "takes from B's queue": lambda broker: broker.consume([rounds_queue(f"site.{B}")]),
    "takes from a pool": lambda broker: broker.consume([rounds_queue("pool.default")]),
    "reads submissions": lambda broker: broker.consume([SUBMISSIONS]),
    "reads dead letters": lambda broker: broker.consume([DEAD_LETTERS]),
    "sends B a round job": lambda broker: broker.publish([Outgoing(rounds_queue(f"site.{B}"), b"x")]),
    "sends itself a round job": lambda broker: broker.publish([Outgoing(rounds_queue(f"site.{A}"), b"x")]),
    "submits a job": lambda broker: broker.publish([Outgoing(SUBMISSIONS, b"x")]),
    "declares a queue": lambda broker: broker.declare([rounds_queue("site.of-its-own")]),
}


@pytest.mark.parametrize("what", BROKER_REFUSALS)
def test_rabbitmq_refuses_a_site_that(what: str, site: Site) -> None:
    with pytest.raises(BrokerRefused):
        BROKER_REFUSALS[what](site.broker)


REDIS_REFUSALS = {
    "tells for B": ("XADD", f"completions:{JOB}:site.{B}", "*", "m", "x"),
    "tells for a pool": ("XADD", f"completions:{JOB}:pool.default", "*", "m", "x"),
    "reads B's stream": ("XRANGE", f"completions:{JOB}:site.{B}", "-", "+"),
    "nudges a job": ("XADD", f"control:{JOB}", "*", "m", ""),
    "is present as B": ("SET", f"warren:presence:trainer:site.{B}.one", "{}"),
    "is present as a pool's trainer": ("SET", "warren:presence:trainer:gpu-1", "{}"),
    "is an aggregator": ("SET", "warren:presence:aggregator:a", "{}"),
    "takes a lease": ("SET", f"warren:lease:{JOB}", "mine"),
    "changes a progress": ("HSET", f"warren:progress:{JOB}", "state", "done"),
    "changes the epoch": ("SET", "warren:epoch", "mine"),
    "deletes its stream": ("DEL", f"completions:{JOB}:site.{A}"),
    "wipes all": ("FLUSHALL",),
    "looks for keys": ("SCAN", "0"),
    "runs a script": ("EVAL", "return 1", "0"),
    "makes users": ("ACL", "SETUSER", "other", "on"),
    "reads settings": ("CONFIG", "GET", "*"),
}


@pytest.mark.parametrize("what", REDIS_REFUSALS)
def test_redis_refuses_a_site_that(what: str, site: Site) -> None:
    with pytest.raises(redis.exceptions.NoPermissionError):
        site.redis.execute_command(*REDIS_REFUSALS[what])


def test_a_job_runs_over_two_sites_that_have_no_more_than_these_rights(house: House, tmp_path: Path) -> None:
    house.fleet.add("aggregator", "leads")
    trainers = [_trainer(house, site, tmp_path) for site in (A, B)]
    try:
        (tmp_path / "job.toml").write_text(JOB_FILE)
        job = house.fleet.submit(tmp_path / "job.toml")
        house.fleet.finished(job)
        assert {one.id.rsplit(".", 1)[0] for one in house.fleet.ledger.presences("trainer")} == {
            f"site.{A}",
            f"site.{B}",
        }
        house.warren_site("revoke", B)
        assert B not in house.listed()
        house.fleet.until(lambda: _connections(house, B) == 0, "B's connections end")
        with pytest.raises(redis.exceptions.AuthenticationError):
            redis.Redis.from_url(house.bundles[B]["WARREN_REDIS"]).time()
    finally:
        for trainer in trainers:
            trainer.terminate()
            trainer.wait(30)


def _trainer(house: House, site: str, folder: Path) -> subprocess.Popen[bytes]:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("WARREN_")}
    with (folder / f"{site}.log").open("wb") as log:
        return subprocess.Popen(
            [str(WARREN), "trainer", "start", "--device", "cpu", "--cache", str(folder / site)],
            env={**outside, **house.bundles[site]},
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _connections(house: House, site: str) -> int:
    found = house.fleet.servers.rabbit.api("GET", "connections")
    return sum(one.get("user") == f"site.{site}" for one in found)


def test_rotating_ends_the_old_credentials_at_once_and_the_new_ones_work(house: House) -> None:
    old = house.bundles[A]
    held = redis.Redis.from_url(old["WARREN_REDIS"])
    assert held.time()
    house.bundles[A] = house.warren_site("rotate", A)
    with pytest.raises((redis.exceptions.AuthenticationError, redis.exceptions.ConnectionError)):
        held.time()
    before = S3Store(
        S3Address(old["WARREN_S3"], old["WARREN_S3_ACCESS_KEY"], old["WARREN_S3_SECRET_KEY"], old["WARREN_S3_BUCKET"]),
        retry_seconds=1,
    )
    with pytest.raises(StorageRefused):
        before.stat(_own_update())
    with pytest.raises(BrokerRefused):
        RabbitBroker(old["WARREN_AMQP"], name="old", connect_seconds=5).depth(SUBMISSIONS)
    for site in _site(house.bundles[A]):
        site.store.stat(_own_update())
        assert site.redis.time()
        assert site.broker.depth(rounds_queue(f"site.{A}")) == (0, 0)


def test_adding_a_site_twice_or_taking_away_one_that_is_not_there_is_refused_in_words(house: House) -> None:
    assert A in house.listed()
    house.warren_site("add", A, code=1)
    house.warren_site("revoke", "nobody", code=1)
    house.warren_site("rotate", "nobody", code=1)
    house.warren_site("add", "No Name", code=2)
