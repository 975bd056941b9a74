"""What the files of `deploy/` promise without an engine: pins, one variable an image, the dashboard, the alerts."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
from compose.refusals import REFUSALS

ROOT = Path(__file__).parents[2]
COMPOSE = [ROOT / "docker-compose.yml", *sorted((ROOT / "deploy").rglob("*compose*.yml"))]
IMAGES = [
    line.split("image:", 1)[1].strip()
    for file in COMPOSE
    for line in file.read_text().splitlines()
    if " image: " in line
]


@pytest.mark.parametrize("image", sorted(set(IMAGES)))
def test_each_image_is_pinned_exactly_and_another_is_named_by_one_variable(image: str) -> None:
    found = re.fullmatch(r"\$\{(WARREN_IMAGE\w*):-([\w./-]+):([\w.-]+)(@sha256:[0-9a-f]{64})?\}", image)
    assert found is not None
    tag = found[3]
    assert tag == "local" or re.search(r"\d+\.\d+\.\d+|\d{4}-\d\d-\d\dT", tag)


def test_ports_are_published_on_this_machine_only_unless_told() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    ports = re.findall(r'- "([^"]+:\d+)"\n', text)
    assert len(ports) == 5
    assert all(port.startswith(("127.0.0.1:", "${WARREN_BIND:-127.0.0.1}:")) for port in ports)


def test_the_dashboard_names_the_data_source_that_is_provisioned_and_its_panels_do_not_overlap() -> None:
    folder = ROOT / "deploy" / "grafana"
    dashboard = json.loads((folder / "dashboards" / "warren.json").read_text())
    provisioned = (folder / "provisioning" / "datasources" / "prometheus.yml").read_text()
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) == len({panel["title"] for panel in panels})
    cells = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(cells)) == len(cells)
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert panel["targets"]
        for part in (panel, *panel["targets"]):
            assert f"uid: {part['datasource']['uid']}\n" in provisioned


def test_docs_security_names_each_refusal_that_is_tried_and_no_other() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    rows = [row.split("|") for row in text.splitlines() if row.count("|") == 4]
    cells = {(row[1].strip(" `"), row[2].strip()): row[3].strip().split("; ") for row in rows}
    for role, tried in REFUSALS.items():
        assert cells[f"warren-{role}", "all three"] == list(tried)
    of_sites = ast.parse((ROOT / "tests" / "services" / "test_site_accounts.py").read_text())
    for name, server in {"STORE": "MinIO", "BROKER": "RabbitMQ", "REDIS": "Redis"}.items():
        (named,) = [cell for (_, on), cell in cells.items() if on == server]
        assert named == _keys_of(of_sites, f"{name}_REFUSALS")


def _keys_of(module: ast.Module, name: str) -> list[object]:
    """The keys of a dictionary that a module gives this name."""
    for node in module.body:
        target = (
            node.target
            if isinstance(node, ast.AnnAssign)
            else node.targets[0]
            if isinstance(node, ast.Assign)
            else None
        )
        if isinstance(target, ast.Name) and target.id == name and isinstance(node, ast.AnnAssign | ast.Assign):
            assert isinstance(node.value, ast.Dict)
            return [key.value for key in node.value.keys if isinstance(key, ast.Constant)]
    raise LookupError(name)


def test_every_alert_is_explained() -> None:
    explained = (ROOT / "docs" / "operating.md").read_text()
    alerts = re.findall(r"- alert: (\w+)", (ROOT / "deploy" / "prometheus" / "rules.yml").read_text())
    assert len(alerts) >= 9
    assert [name for name in alerts if f"| {name} |" not in explained] == []
