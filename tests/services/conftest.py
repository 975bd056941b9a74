"""Fixtures of the tests on real servers and processes: fleets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from servers.rabbit import RabbitServer
from servers.redis_server import RedisServer
from servers.s3_server import MinioServer, SeaweedServer
from services.fleet import Fleet, Servers


@pytest.fixture(scope="module")
def servers(
    rabbit: RabbitServer, redis_server: RedisServer, s3_server: MinioServer | SeaweedServer
) -> Iterator[Servers]:
    """The tests' own servers, all running again afterwards."""
    found = Servers(rabbit, redis_server, s3_server)
    yield found
    found.ensure()


@pytest.fixture(scope="module")
def fleet(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One fleet for a module's tests, empty at first: a service takes seconds to start. Each test has its own job."""
    with Fleet(servers, tmp_path_factory.mktemp("fleet")) as made:
        yield made
