"""Opens what a command talks to: the three servers, or a folder of embedded runs; and closes it again."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from ..broker import completions
from ..broker.completions import News
from ..broker.rabbit import RabbitBroker
from ..storage import ledger as redis_ledger
from ..storage.folder import FolderStore
from ..storage.ledger import RedisLedger
from ..storage.objects import ObjectStore
from ..storage.ports import Ledger
from ..storage.s3 import S3Address, S3Store
from .context import Addresses, resolve
from .options import Given
from .store_address import store_address


@dataclass(frozen=True, slots=True)
class View:
    """What is needed to look at jobs and to command them. A folder has no news and no ledger."""

    store: ObjectStore
    ledger: Ledger | None = None
    news: News | None = None
    place: str = ""  # which store this is, for `@last`


@dataclass(frozen=True, slots=True)
class Kinds:
    """The adapters to make: these, or ones that measure themselves."""

    store: Callable[[S3Address], S3Store] = S3Store
    ledger: Callable[[redis.Redis], RedisLedger] = RedisLedger
    news: Callable[[redis.Redis], News] = News


@dataclass(frozen=True, slots=True)
class Servers:
    """Everything, for services and for submitting."""

    store: S3Store
    broker: RabbitBroker
    ledger: RedisLedger
    news: News
    addresses: Addresses

    @property
    def view(self) -> View:
        return View(self.store, self.ledger, self.news, place_of(self.addresses))


@contextmanager
def open_view(given: Given, folder: Path | None) -> Iterator[View]:
    """The servers' jobs, or those in a folder. Raises UsageMistake, StorageError, BrokerError."""
    if folder is not None:
        yield View(FolderStore(folder), place=str(folder.resolve()))
        return
    addresses = resolve(given)
    store = open_store(addresses)
    try:
        ledger, news = _redis(addresses)
        yield View(store, ledger, news, place_of(addresses))
    finally:
        store.close()


@contextmanager
def open_servers(given: Given, name: str, kinds: Kinds = Kinds()) -> Iterator[Servers]:
    """All three servers; `name` is shown in RabbitMQ's list of connections. Raises as `open_view`."""
    addresses = resolve(given)
    store = kinds.store(store_address(addresses))
    broker = open_broker(addresses, name)
    try:
        ledger, news = _redis(addresses, kinds)
        yield Servers(store, broker, ledger, news, addresses)
    finally:
        broker.close()
        store.close()


def open_store(addresses: Addresses) -> S3Store:
    """The bucket, whether it is there or not."""
    return S3Store(store_address(addresses))


def open_broker(addresses: Addresses, name: str) -> RabbitBroker:
    """RabbitMQ, not yet connected; `name` is shown in its list of connections. Raises BrokerRefused."""
    ca_file, cert_file, key_file = addresses.tls_files
    return RabbitBroker(addresses.amqp, name=name, ca_file=ca_file, cert_file=cert_file, key_file=key_file)


def _redis(addresses: Addresses, kinds: Kinds = Kinds()) -> tuple[RedisLedger, News]:
    url = addresses.redis_with_tls
    return kinds.ledger(redis_ledger.connect(url)), kinds.news(completions.connect(url))


def place_of(addresses: Addresses) -> str:
    """Which store this is, without secrets."""
    return f"{addresses.s3}/{addresses.bucket}"


def who() -> str:
    """The person and machine that give a command, for its record."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no such user in the container
        user = "?"
    return f"{user}@{socket.gethostname()}"[:255]
