"""Opens what a command talks to: the three servers, or a folder of embedded runs; and closes it again."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True, slots=True)
class View:
    """What is needed to look at jobs and to command them. A folder has no news and no ledger."""

    store: ObjectStore
    ledger: Ledger | None = None
    news: News | None = None
    place: str = ""  # which store this is, for `@last`


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
def open_servers(given: Given, name: str) -> Iterator[Servers]:
    """All three servers; `name` is shown in RabbitMQ's list of connections. Raises as `open_view`."""
    addresses = resolve(given)
    store = open_store(addresses)
    broker = RabbitBroker(addresses.amqp, name=name)
    try:
        ledger, news = _redis(addresses)
        yield Servers(store, broker, ledger, news, addresses)
    finally:
        broker.close()
        store.close()


def open_store(addresses: Addresses) -> S3Store:
    """The bucket, whether it is there or not."""
    return S3Store(S3Address(addresses.s3, addresses.access_key, addresses.secret_key, addresses.bucket))


def _redis(addresses: Addresses) -> tuple[RedisLedger, News]:
    return RedisLedger(redis_ledger.connect(addresses.redis)), News(completions.connect(addresses.redis))


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
