"""The files of `deploy/` as their own tools read them: compose, hadolint, Grafana's schema."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from compose.system import ROOT
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

pytestmark = pytest.mark.containers

OVERRIDES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "deploy").glob("compose.*.yml"))
SITE = {
    "WARREN_SITE": "a",
    "WARREN_AMQP": "amqps://a",
    "WARREN_REDIS": "rediss://a",
    "WARREN_S3": "https://a",
    "WARREN_S3_ACCESS_KEY": "a",
    "WARREN_S3_SECRET_KEY": "a",
}


def config(*files: str, **settings: str) -> dict[str, Any]:
    words = [part for file in files for part in ("-f", file)]
    done = subprocess.run(
        ["docker", "compose", *words, "--profile", "*", "config", "--format", "json"],
        cwd=ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("overrides", [(), *((name,) for name in OVERRIDES), tuple(OVERRIDES)], ids=" ".join)
def test_compose_takes_the_file_with(overrides: tuple[str, ...]) -> None:
    services = config("docker-compose.yml", *overrides)["services"]
    for name, service in services.items():
        assert service["logging"]["options"]["max-size"], f"{name}: logs rotate"
        assert service["deploy"]["resources"]["limits"]["memory"], f"{name}: memory is limited"
        if "profiles" not in service or name.startswith("trainer"):
            assert service["restart"] in ("no", "unless-stopped"), f"{name}: a restart policy"
            assert service["restart"] == "no" or service["healthcheck"]["test"], f"{name}: health is looked at"


def test_compose_takes_the_file_of_a_site() -> None:
    (service,) = config("deploy/site/docker-compose.yml", **SITE)["services"].values()
    assert "ports" not in service
    assert [mount["read_only"] for mount in service["volumes"] if mount["type"] == "bind"] == [True] * 3


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "deploy" / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_grafanas_own_model_of_a_dashboard_keeps_every_field_of_ours() -> None:
    ours = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "warren.json").read_text())
    assert list(lost(ours)) == []
    ours["panels"][0]["fieldConfig"]["defaults"]["unti"] = "s"
    assert list(lost(ours)) == [".panels[0].fieldConfig.defaults.unti"]


def lost(dashboard: dict[str, Any]) -> Iterator[str]:
    """The fields that Grafana's model does not know, or takes for something else."""
    return _differing(dashboard, json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard))), "")


def _differing(ours: Any, theirs: Any, where: str) -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            yield from _differing(value, theirs.get(key), f"{where}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, pair in enumerate(zip(ours, theirs, strict=True)):
            yield from _differing(*pair, f"{where}[{index}]")
    elif ours != theirs:
        yield where
