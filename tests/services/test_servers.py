"""The tests' own servers: what the fault tests rely on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from io import BytesIO

import pika
import pytest
import redis
from minio import Minio
from servers.rabbit import RabbitServer
from servers.redis_server import RedisServer
from servers.s3_server import MinioServer, S3Bucket, SeaweedServer

pytestmark = pytest.mark.services


@contextlib.contextmanager
def channel_to(url: str) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        yield connection.channel()


def bucket_client(s3: S3Bucket) -> Minio:
    return Minio(s3.url.partition("://")[2], access_key=s3.access_key, secret_key=s3.secret_key, secure=False)


def test_each_test_gets_a_rabbitmq_without_queues(amqp_url: str, rabbit: RabbitServer) -> None:
    with channel_to(amqp_url) as channel:
        channel.queue_declare("left-behind", durable=True)
    other = rabbit.fresh_url()
    with channel_to(other) as channel, pytest.raises(pika.exceptions.ChannelClosedByBroker):
        channel.queue_declare("left-behind", passive=True)
    rabbit.forget_url(other)


def test_rabbitmq_keeps_confirmed_messages_over_an_ordered_restart_and_a_kill(
    amqp_url: str, rabbit: RabbitServer
) -> None:
    with channel_to(amqp_url) as channel:
        channel.queue_declare("kept", durable=True, arguments={"x-queue-type": "quorum"})
    rabbit.restart()  # a quorum queue killed within a second of its declaration is lost on 3.10 (names.dets)
    with channel_to(amqp_url) as channel:
        channel.confirm_delivery()
        channel.basic_publish("", "kept", b"still here", mandatory=True)
    rabbit.kill()
    assert not rabbit.running
    rabbit.start()
    with channel_to(amqp_url) as channel:
        _, _, body = next(channel.consume("kept", auto_ack=True, inactivity_timeout=30))
        assert body == b"still here"


def test_rabbitmqctl_reaches_the_private_node(rabbit: RabbitServer) -> None:
    assert "guest" in rabbit.ctl("-q", "list_users")


def test_a_killed_redis_comes_back_with_its_data_and_a_wiped_one_empty(
    redis_url: str, redis_server: RedisServer
) -> None:
    client = redis.Redis.from_url(redis_url)
    client.set("k", "v")
    redis_server.kill()
    redis_server.start()
    assert redis.Redis.from_url(redis_url).get("k") == b"v"
    redis_server.kill()
    redis_server.wipe()
    redis_server.start()
    assert redis.Redis.from_url(redis_url).get("k") is None


def test_each_test_gets_an_empty_redis(redis_url: str) -> None:
    assert redis.Redis.from_url(redis_url).dbsize() == 0


def test_a_killed_object_store_comes_back_with_its_objects(
    s3: S3Bucket, s3_server: MinioServer | SeaweedServer
) -> None:
    body = b"x" * 100_000
    bucket_client(s3).put_object(bucket_name=s3.bucket, object_name="a/b", data=BytesIO(body), length=len(body))
    s3_server.kill()
    s3_server.start()
    answer = bucket_client(s3).get_object(bucket_name=s3.bucket, object_name="a/b")
    with contextlib.closing(answer):
        assert answer.read() == body
