"""The further compose files: Prometheus, whom each query of dashboard and alerts is asked of; and one port for all."""

from __future__ import annotations

import json
import re
import socket
import ssl
from pathlib import Path

import pytest
from compose.prometheus import Prometheus
from compose.system import DOMAIN, ROOT, System, bridge

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def prometheus(extended: System) -> Prometheus:
    job = extended.submit("digits", "--set", "rounds=2")
    extended.until(lambda: extended.job(job)["state"] == "done", f"{job} is done")
    asked = Prometheus(extended.ports["PROMETHEUS"])
    extended.until(lambda: len(asked.ask("up == 1")) == 4, "all four are scraped")
    extended.until(lambda: bool(asked.ask(f'warren_job_round{{exported_job="{job}"}} == 2')), "the job is seen")
    return asked


def queries() -> list[str]:
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "warren.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


@pytest.mark.parametrize("query", queries())
def test_each_query_of_the_dashboard_answers(query: str, prometheus: Prometheus, extended: System) -> None:
    if "histogram_quantile" in query:
        assert all(one["value"] for one in prometheus.ask(query))
        return
    extended.until(lambda: bool(prometheus.ask(query)), f"{query} answers", 60)  # rates need two samples


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
def test_one_port_leads_to_each_server_by_its_name(name: str, extended: System, certificate: Path) -> None:
    greeting, answer = GREETINGS[name]
    assert greet(extended, certificate, f"{name}.{DOMAIN}", greeting).startswith(answer)


def test_a_name_that_nobody_has_leads_nowhere(extended: System, certificate: Path) -> None:
    assert greet(extended, certificate, f"console.{DOMAIN}", b"PING\r\n") == b""


def greet(system: System, certificate: Path, name: str, greeting: bytes) -> bytes:
    """What the edge answers to a greeting over TLS, by this name."""
    context = ssl.create_default_context(cafile=str(certificate))
    with (
        socket.create_connection((bridge(), system.ports["EDGE"]), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=name) as connection,
    ):
        try:
            connection.sendall(greeting)
            return connection.recv(64)
        except OSError:
            return b""
