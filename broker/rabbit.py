"""The broker on RabbitMQ: queues declared, messages published with confirms, deliveries taken."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pika

from .errors import BrokerRefused, BrokerUnavailable
from .ports import Consumer, Outgoing
from .rabbit_consumer import RabbitConsumer
from .rabbit_link import (
    ANSWER_SECONDS_MAX,
    ATTEMPT_SECONDS_MAX,
    CONNECT_SECONDS_MAX,
    HEARTBEAT_SECONDS,
    Link,
    Session,
    channel_failure,
    settle,
)
from .rabbit_publisher import PUBLISH_SECONDS_MAX, Publisher
from .topology import DEAD_LETTERS, ROUNDS_DEAD, arguments

DECLARE_SECONDS = 0.5  # more for each queue of a call

if logging.getLogger("pika").level == logging.NOTSET:
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # what it logs as errors we raise, or heal and log ourselves


class RabbitBroker:
    """Implements `ports.Broker`. Threads may share it.

    Two connections: one to declare and consume, one (made at the first publish) to publish:
    an alarm blocks only the latter.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        ca_file: Path | None = None,
        cert_file: Path | None = None,
        key_file: Path | None = None,
        connect_seconds: float = CONNECT_SECONDS_MAX,
        publish_seconds: float = PUBLISH_SECONDS_MAX,
    ) -> None:
        """Returns at once; the first verb waits for the connection.

        Args:
            url: amqp://user:password@host:port/vhost, or amqps:// for TLS.
            name: shown in RabbitMQ's list of connections.
            ca_file, cert_file, key_file: for amqps, PEM. Without `ca_file` the system's authorities count.
            connect_seconds: how long a verb waits where nothing answers; a person at a prompt waits less.
            publish_seconds: how long a publish waits without any confirm.

        Raises:
            BrokerRefused: the address can't be read.
        """
        self._name = name
        self._connect_seconds, self._publish_seconds = connect_seconds, publish_seconds
        work = _parameters(url, name, ca_file, cert_file, key_file)
        self._publishing = _parameters(url, f"{name} publishing", ca_file, cert_file, key_file)
        self.address = _address(work)
        self._work = Link(work, self.address, connect_seconds)
        self._publisher_lock = threading.Lock()
        self._publisher: tuple[Link, Publisher] | None = None
        self._closed = False
        self._consumers: list[RabbitConsumer] = []

    def declare(self, queues: Sequence[str]) -> None:
        """Make the queues where they are missing, and those of the dead letters with them."""
        names = list(dict.fromkeys([*queues, *_dead_letter_queues(queues)]))

        def question(session: Session, answer: Future[None]) -> None:
            left = set(names)

            def declared(queue: str) -> None:
                left.discard(queue)
                if not left:
                    settle(answer)
                    channel.close()

            def opened(_: Any) -> None:
                for queue in names:
                    channel.queue_declare(
                        queue,
                        durable=True,
                        arguments=arguments(queue),
                        callback=_without_frame(declared, queue),
                    )

            channel = self._channel(session, answer, opened)

        if names:
            self._work.ask(question, ANSWER_SECONDS_MAX + DECLARE_SECONDS * len(names))

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish all; returns when RabbitMQ has confirmed each one. See `Publisher.publish`."""
        with self._publisher_lock:
            if self._closed:
                raise BrokerUnavailable(f"the connection to {self.address} was closed")
            if self._publisher is None:
                link = Link(self._publishing, self.address, self._connect_seconds)
                self._publisher = (link, Publisher(link, self._publish_seconds))
            publisher = self._publisher[1]
        if messages:
            publisher.publish(messages)

    def consume(self, queues: Sequence[str], prefetch: int = 1) -> Consumer:
        """Start taking from these queues; returns when RabbitMQ has begun to deliver.

        Raises:
            BrokerRefused: a queue does not exist or may not be read.
        """
        self._work.session(time.monotonic() + self._connect_seconds)
        consumer = RabbitConsumer(self._work, self._name, queues, prefetch)
        consumer.wait_until_flowing(ANSWER_SECONDS_MAX)
        self._consumers = [*(old for old in self._consumers if not old.closing), consumer]
        return consumer

    def depth(self, queue: str) -> tuple[int, int] | None:
        """(messages ready, consumers) of a queue; None where there is no such queue."""

        def question(session: Session, answer: Future[tuple[int, int] | None]) -> None:
            def found(frame: Any) -> None:
                settle(answer, (frame.method.message_count, frame.method.consumer_count))
                channel.close()

            def opened(_: Any) -> None:
                channel.queue_declare(queue, passive=True, callback=found)

            channel = self._channel(session, answer, opened, missing=True)

        return self._work.ask(question)

    def server(self) -> Mapping[str, str]:
        """What the server says of itself: `product` and `version`."""
        session = self._work.session(time.monotonic() + self._connect_seconds)
        facts = session.connection.server_properties or {}
        return {name: str(facts.get(name, ""))[:80] for name in ("product", "version")}

    def close(self) -> None:
        """Close both connections; what was delivered and not settled goes back. Bounded."""
        for consumer in self._consumers:
            consumer.close()
        self._work.close()
        with self._publisher_lock:
            self._closed, publisher = True, self._publisher
        if publisher is not None:
            publisher[0].close()

    def _channel(
        self, session: Session, answer: Future[Any], opened: Callable[[Any], None], missing: bool = False
    ) -> Any:
        """A channel for one question; its end answers it, with None where a missing queue is an answer."""

        def closed(_: Any, reason: BaseException) -> None:
            if missing and getattr(reason, "reply_code", 0) == 404:
                settle(answer)
            else:
                settle(answer, error=channel_failure(reason, self.address))

        channel = session.connection.channel(on_open_callback=opened)
        channel.add_on_close_callback(closed)
        return channel


def _parameters(url: str, name: str, ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> Any:
    parts = urlsplit(url)
    if parts.scheme not in ("amqp", "amqps") or not parts.hostname:
        raise BrokerRefused("the broker's address must look like amqp://user:password@host:5672/vhost")
    try:
        parameters = pika.URLParameters(url)
    except (ValueError, TypeError):
        # pika's words may hold the password
        raise BrokerRefused(f"the broker's address at {parts.hostname} can't be read: check port and vhost") from None
    parameters.heartbeat = parameters.heartbeat or HEARTBEAT_SECONDS
    parameters.blocked_connection_timeout = None  # the publisher waits, the connection stays
    parameters.socket_timeout = parameters.stack_timeout = ATTEMPT_SECONDS_MAX
    parameters.client_properties = {"connection_name": name}
    if parts.scheme == "amqps":
        parameters.ssl_options = pika.SSLOptions(_tls_context(ca_file, cert_file, key_file), parts.hostname)
    return parameters


def _tls_context(ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        if cert_file is not None:
            context.load_cert_chain(cert_file, key_file)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(str(file) for file in (ca_file, cert_file, key_file) if file)
        raise BrokerRefused(f"the broker's TLS files can't be used ({files}): {error}") from None
    return context


def _address(parameters: Any) -> str:
    """How errors name the server: without user and password."""
    scheme = "amqps" if parameters.ssl_options is not None else "amqp"
    vhost = "" if parameters.virtual_host == "/" else f"/{parameters.virtual_host}"
    return f"{scheme}://{parameters.host}:{parameters.port}{vhost}"


def _dead_letter_queues(queues: Sequence[str]) -> list[str]:
    """Where these queues' dead letters go; at-least-once dead-lettering waits for ever for a missing one."""
    if any("x-dead-letter-routing-key" in arguments(queue) for queue in queues):
        return [ROUNDS_DEAD, DEAD_LETTERS]
    return []


def _without_frame(act: Callable[[str], None], queue: str) -> Callable[[Any], None]:
    return lambda _: act(queue)
