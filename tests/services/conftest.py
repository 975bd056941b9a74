"""Fixtures of the tests on real servers and processes: fleets, and sites with accounts."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from servers.rabbit import RabbitServer
from servers.redis_server import RedisServer
from servers.s3_server import MinioServer, SeaweedServer
from services.fleet import Fleet, Servers
from services.member import WARREN
from services.sites import A, B, House


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


@pytest.fixture(scope="module")
def house(fleet: Fleet, rabbit: RabbitServer, s3_server: MinioServer | SeaweedServer) -> Iterator[House]:
    """Accounts for two sites, for a module's tests."""
    if isinstance(s3_server, SeaweedServer):
        pytest.skip("accounts of sites need MinIO's admin API, and only SeaweedFS is to be had here")
    made = House(fleet, f"http://127.0.0.1:{rabbit.api_port}")
    yield made
    for site in (A, B):
        subprocess.run([str(WARREN), "site", "revoke", site], env=made.environment, timeout=60, check=False)
