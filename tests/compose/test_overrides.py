"""The further compose files: Prometheus, whom each query of dashboard and alerts is asked of; and one port for all."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from compose.system import ROOT, System, engine_runs

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1800)]

FILES = ("docker-compose.yml", "deploy/compose.observability.yml", "deploy/compose.edge.yml")
DOMAIN = "warren.example"


class Prometheus:
    """Asked over its own API."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def ask(self, query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._get(f"/query?query={urllib.parse.quote(query)}")["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self._get("/rules")["groups"] for rule in group["rules"]]

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self._url + path, timeout=30) as answer:
            said = json.load(answer)
        assert said["status"] == "success", said
        return said["data"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificate and key of the edge, in one file, as HAProxy reads them."""
    folder = tmp_path_factory.mktemp("edge")
    folder.parent.chmod(0o755)
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "edge.pem", "-days", "2"]
    names = ["-subj", f"/CN={DOMAIN}", "-addext", f"subjectAltName=DNS:*.{DOMAIN}"]
    subprocess.run(["openssl", *words, *names], cwd=folder, capture_output=True, timeout=60, check=True)
    whole = folder / "whole.pem"
    whole.write_text((folder / "edge.pem").read_text() + (folder / "key.pem").read_text())
    whole.chmod(0o644)
    return whole


@pytest.fixture(scope="module")
def system(certificate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    if not engine_runs():
        pytest.fail("no Docker engine with compose answers: start one, or leave these out (-m 'not containers')")
    tasks = tmp_path_factory.mktemp("tasks")
    tasks.chmod(0o755)
    edge = {"WARREN_EDGE_CERTIFICATE": str(certificate), "WARREN_EDGE_BIND": "127.0.0.1", "WARREN_DOMAIN": DOMAIN}
    with System(tasks, FILES, edge) as made:
        made.up("aggregator", "trainer", "prometheus", "edge")
        yield made


@pytest.fixture(scope="module")
def prometheus(system: System) -> Prometheus:
    job = system.submit("digits", "--set", "rounds=2")
    system.until(lambda: system.job(job)["state"] == "done", f"{job} is done")
    asked = Prometheus(system.ports["PROMETHEUS"])
    system.until(lambda: len(asked.ask("up == 1")) == 4, "all four are scraped")
    system.until(lambda: bool(asked.ask(f'warren_job_round{{exported_job="{job}"}} == 2')), "the job is seen")
    return asked


def queries() -> list[str]:
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "warren.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


@pytest.mark.parametrize("query", queries())
def test_each_query_of_the_dashboard_answers(query: str, prometheus: Prometheus, system: System) -> None:
    if "histogram_quantile" in query:
        assert all(one["value"] for one in prometheus.ask(query))
        return
    system.until(lambda: bool(prometheus.ask(query)), f"{query} answers", 60)  # rates need two samples


def test_every_alert_is_loaded_asks_for_metrics_that_there_are_and_none_fires(prometheus: Prometheus) -> None:
    rules = prometheus.rules()
    assert len(rules) == (ROOT / "deploy" / "prometheus" / "rules.yml").read_text().count("- alert:")
    for rule in rules:
        assert rule["health"] in ("ok", "unknown"), rule
        for metric in set(re.findall(r"\b(?:warren|rabbitmq|minio)_[a-z_]+", rule["query"])):
            assert prometheus.ask(metric), f"{rule['name']} asks for {metric}, which nobody shows"
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []


GREETINGS = {
    "amqp": (b"AMQP\x00\x00\x09\x01", b"\x01"),
    "redis": (b"PING\r\n", b"-NOAUTH"),
    "s3": (b"GET /minio/health/live HTTP/1.1\r\nhost: s3\r\nconnection: close\r\n\r\n", b"HTTP/1.1 200"),
}


@pytest.mark.parametrize("name", GREETINGS)
def test_one_port_leads_to_each_server_by_its_name(name: str, system: System, certificate: Path) -> None:
    greeting, answer = GREETINGS[name]
    assert greet(system, certificate, f"{name}.{DOMAIN}", greeting).startswith(answer)


def test_a_name_that_nobody_has_leads_nowhere(system: System, certificate: Path) -> None:
    assert greet(system, certificate, f"console.{DOMAIN}", b"PING\r\n") == b""


def greet(system: System, certificate: Path, name: str, greeting: bytes) -> bytes:
    """What the edge answers to a greeting over TLS, by this name."""
    context = ssl.create_default_context(cafile=str(certificate))
    with (
        socket.create_connection(("127.0.0.1", system.ports["EDGE"]), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=name) as connection,
    ):
        try:
            connection.sendall(greeting)
            return connection.recv(64)
        except OSError:
            return b""
