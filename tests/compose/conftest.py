"""Two installations: the compose file alone, and one with every override on small disks. Each is up once a session."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from compose.images import ImagesMissing, engine
from compose.system import DOMAIN, System, bridge

BASE = ("docker-compose.yml",)
OVERRIDES = ("deploy/compose.observability.yml", "deploy/compose.edge.yml", "tests/compose/small-disks.yml")


@pytest.fixture(scope="session")
def running_engine() -> None:
    try:
        engine()
    except ImagesMissing as error:
        pytest.fail(f"{error}; or leave these out (-m 'not containers')")


@pytest.fixture(scope="module")
def system(running_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The compose file alone, not up yet."""
    with System(_tasks(tmp_path_factory), BASE) as made:
        _say_what_stood_in(made)
        yield made


@pytest.fixture(scope="session")
def extended(running_engine: None, certificate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """With Prometheus and the edge, up; its three servers' disks can be filled."""
    edge = {"WARREN_EDGE_CERTIFICATE": str(certificate), "WARREN_EDGE_BIND": bridge(), "WARREN_DOMAIN": DOMAIN}
    with System(_tasks(tmp_path_factory), (*BASE, *OVERRIDES), edge) as made:
        _say_what_stood_in(made)
        made.up("aggregator", "trainer", "prometheus", "edge")
        yield made


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificate and key of the edge, in one file, as HAProxy reads them; `edge.pem` beside it is what to trust."""
    folder = tmp_path_factory.mktemp("edge")
    folder.parent.chmod(0o755)
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "edge.pem", "-days", "2"]
    names = ["-subj", f"/CN={DOMAIN}", "-addext", f"subjectAltName=DNS:*.{DOMAIN}"]
    subprocess.run(["openssl", *words, *names], cwd=folder, capture_output=True, timeout=60, check=True)
    whole = folder / "whole.pem"
    whole.write_text((folder / "edge.pem").read_text() + (folder / "key.pem").read_text())
    whole.chmod(0o644)
    return whole


def _tasks(factory: pytest.TempPathFactory) -> Path:
    folder = factory.mktemp("tasks")
    folder.parent.chmod(0o755)
    folder.chmod(0o755)
    return folder


def _say_what_stood_in(system: System) -> None:
    print(f"\nimages that stood in: {', '.join(system.stood_in) or 'none'}")
