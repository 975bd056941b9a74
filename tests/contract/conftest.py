"""The object stores and the brokers that must keep the same promises."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from warren.broker.memory import MemoryBroker
from warren.broker.ports import Broker
from warren.broker.rabbit import RabbitBroker
from warren.broker.topology import evaluations_queue, rounds_queue
from warren.storage.folder import FolderStore
from warren.storage.objects import ObjectStore
from warren.storage.s3 import S3Address, S3Store


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    opened: ObjectStore
    if request.param == "folder":
        opened = FolderStore(tmp_path / "store")
    else:
        place = request.getfixturevalue("s3")
        opened = S3Store(S3Address(place.url, place.access_key, place.secret_key, place.bucket))
    with contextlib.closing(opened):
        yield opened


@pytest.fixture(params=["memory", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    made: Broker
    made = MemoryBroker() if request.param == "memory" else RabbitBroker(_url(request), name="contract")
    with contextlib.closing(made):
        yield made


@pytest.fixture
def rounds(broker: Broker) -> str:
    return _declared(broker, rounds_queue(f"pool.{secrets.token_hex(4)}"))


@pytest.fixture
def evaluations(broker: Broker) -> str:
    return _declared(broker, evaluations_queue(f"pool.{secrets.token_hex(4)}"))


def _declared(broker: Broker, queue: str) -> str:
    broker.declare([queue])
    return queue


def _url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue("amqp_url")
    return url
