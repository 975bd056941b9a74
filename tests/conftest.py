"""Fixtures for all tests: real servers, started once a session, and a clean place on them for each test."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pika
import psutil
import pytest
import redis
import urllib3
from hypothesis import settings
from minio import Minio
from minio.error import S3Error
from servers.find import MINIO, RABBITMQ, REDIS, SERVICES, Found, Service, find, find_own
from servers.rabbit import RabbitServer
from servers.redis_server import RedisServer
from servers.s3_server import ACCESS_KEY, SECRET_KEY, MinioServer, S3Bucket, SeaweedServer, bucket_name
from services.undisturbed import undisturbed

from warren.broker import topology

WORKERS_MAX = 4
WORKER_BYTES = 4 << 30  # RabbitMQ, Redis, MinIO and a fleet whose processes hold torch

settings.register_profile("tests", settings(), deadline=None)  # a busy machine's pause is no failure
settings.load_profile("tests")


def pytest_configure() -> None:
    """End as on Ctrl-C when told to (`timeout`, CI): the servers are ended too, where SIGTERM would leave them.

    A shell starts what runs in its background deaf to Ctrl-C, and so would be what tests start and interrupt.
    """
    if threading.current_thread() is threading.main_thread():
        for told in (signal.SIGTERM, signal.SIGINT):
            signal.signal(told, signal.default_int_handler)


def pytest_xdist_auto_num_workers() -> int:
    """Test processes, each with servers of its own: one more than cores, since many tests wait for a deadline to pass.

    Less where memory is short; one, if servers that are given can't be shared.
    """
    given = any(os.environ.get(service.variable) for service in SERVICES)
    room = psutil.virtual_memory().total // WORKER_BYTES
    return 1 if given else max(1, min(len(os.sched_getaffinity(0)) + 1, room, WORKERS_MAX))


def pytest_report_header() -> list[str]:
    return [str(find(service) or f"{service.name}: MISSING; {service.remedy}") for service in SERVICES]


@pytest.fixture(scope="session")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """A RabbitMQ of the tests' own, to kill and restart; `amqp_url` is the clean place on it."""
    server = RabbitServer(_own(RABBITMQ), tmp_path_factory.mktemp("rabbitmq"))
    with contextlib.closing(server):
        server.start()
        yield server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis of the tests' own, to kill, restart and wipe."""
    server = RedisServer(_own(REDIS), tmp_path_factory.mktemp("redis"))
    with contextlib.closing(server):
        server.start()
        yield server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer | SeaweedServer]:
    """An object store of the tests' own, to kill and restart."""
    found = _own(MINIO)
    kind = SeaweedServer if found.stands_in else MinioServer
    server = kind(found, tmp_path_factory.mktemp("s3"))
    with contextlib.closing(server):
        server.start()
        yield server


@pytest.fixture
def amqp_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A RabbitMQ without queues: a virtual host of its own, or the address given, without Warren's queues."""
    if given := os.environ.get(RABBITMQ.variable):
        _drop_queues(given)
        yield given
        return
    rabbit: RabbitServer = request.getfixturevalue("rabbit")
    rabbit.ensure()
    url = rabbit.fresh_url()
    yield url
    if rabbit.running:
        rabbit.forget_url(url)


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> str:
    """An empty Redis. An address that is given is flushed: give one that holds nothing else."""
    if given := os.environ.get(REDIS.variable):
        with redis.Redis.from_url(given) as client:
            client.flushdb()
        return given
    server: RedisServer = request.getfixturevalue("redis_server")
    server.ensure()
    server.empty()
    return server.url


@pytest.fixture
def s3(request: pytest.FixtureRequest) -> Iterator[S3Bucket]:
    """An empty bucket, removed after the test."""
    url, access, secret = _s3_address(request)
    place = S3Bucket(url, access, secret, bucket_name())
    # MinIO may answer 503 in its first moments, with "Retry-After: 60", which urllib3 would wait for.
    retries = urllib3.Retry(8, backoff_factor=0.05, status_forcelist=[503], respect_retry_after_header=False)
    client = Minio(
        url.partition("://")[2],
        access_key=access,
        secret_key=secret,
        secure=url.startswith("https"),
        http_client=urllib3.PoolManager(retries=retries),
    )
    client.make_bucket(bucket_name=place.bucket)
    yield place
    with contextlib.suppress(S3Error, OSError, ValueError):  # a test may have left its server dead
        for entry in client.list_objects(bucket_name=place.bucket, recursive=True):
            client.remove_object(bucket_name=place.bucket, object_name=str(entry.object_name))
        client.remove_bucket(bucket_name=place.bucket)


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """Digests of the checkpoints that a job comes to when nothing disturbs it; each kind of job runs once."""
    known: dict[str, list[str]] = {}

    def run(**fields: object) -> list[str]:
        name = repr(sorted(fields.items()))
        if name not in known:
            known[name] = undisturbed(Path(tmp_path_factory.mktemp("undisturbed")), **fields)
        return known[name]

    return run


def _s3_address(request: pytest.FixtureRequest) -> tuple[str, str, str]:
    if given := os.environ.get(MINIO.variable):
        keys = (f"{MINIO.variable}_ACCESS_KEY", f"{MINIO.variable}_SECRET_KEY")
        return given.rstrip("/"), os.environ.get(keys[0], ""), os.environ.get(keys[1], "")
    server: MinioServer | SeaweedServer = request.getfixturevalue("s3_server")
    server.ensure()
    return server.url, ACCESS_KEY, SECRET_KEY


def _own(service: Service) -> Found:
    found = find_own(service)
    if found is None:
        pytest.fail(f"no {service.name} that the tests may start: {service.remedy}", pytrace=False)
    return found


def _drop_queues(url: str) -> None:
    """Only queues whose names are known can be dropped without the management API: use unique sites."""
    sources = ("pool.default",)
    names = [topology.SUBMISSIONS, topology.ROUNDS_DEAD, topology.DEAD_LETTERS]
    names += [name(source) for source in sources for name in (topology.rounds_queue, topology.evaluations_queue)]
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        channel = connection.channel()
        for name in names:
            channel.queue_delete(name)
