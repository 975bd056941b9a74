"""Prometheus beside a running installation: it finds every service, and each query of dashboard and alerts answers."""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from compose.system import ROOT, System, engine_runs
from servers.process import free_port

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1800)]

FILES = ("docker-compose.yml", "deploy/compose.observability.yml")
# Only what goes wrong makes these: an empty answer is the good one.
SOMETIMES = ("histogram_quantile", "rejected", "absent(", 'up{job="trainer"} == 0', "== 1", "> 0", "< 0.15")


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
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    if not engine_runs():
        pytest.fail("no Docker engine with compose answers: start one, or leave these out (-m 'not containers')")
    tasks = tmp_path_factory.mktemp("tasks")
    tasks.chmod(0o755)
    port = free_port()
    with System(tasks, FILES, {"WARREN_PROMETHEUS_PORT": str(port)}) as system:
        system.up("aggregator", "trainer", "prometheus")
        job = system.submit("digits", "--set", "rounds=2")
        system.until(lambda: system.job(job)["state"] == "done", f"{job} is done")
        asked = Prometheus(port)
        system.until(lambda: len(asked.ask("up == 1")) == 4, "all four are scraped")
        system.until(lambda: bool(asked.ask(f'warren_job_round{{exported_job="{job}"}} == 2')), "the job is seen")
        yield asked


def queries() -> list[str]:
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "warren.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


@pytest.mark.parametrize("query", queries())
def test_each_query_of_the_dashboard_answers(query: str, prometheus: Prometheus) -> None:
    found = prometheus.ask(query)
    assert found or any(part in query for part in SOMETIMES)


def test_every_alert_is_loaded_asks_for_metrics_that_there_are_and_none_fires(prometheus: Prometheus) -> None:
    rules = prometheus.rules()
    assert len(rules) == (ROOT / "deploy" / "prometheus" / "rules.yml").read_text().count("- alert:")
    for rule in rules:
        assert rule["health"] in ("ok", "unknown"), rule
        for metric in set(re.findall(r"\b(?:warren|rabbitmq|minio)_[a-z_]+", rule["query"])):
            assert prometheus.ask(metric), f"{rule['name']} asks for {metric}, which nobody shows"
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
