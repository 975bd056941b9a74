"""A site as its people run it: deploy/site in containers of its own, and one port outwards, 443 by its name."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from compose.system import DOMAIN, ROOT, System, docker, read_log

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

SITE = "st-mary"
COMMAND_SECONDS = 240.0
TASK = """
import torch
from torch.utils.data import TensorDataset


def model():
    return torch.nn.Linear(4, 2)


def data(client):
    seed = int((client.data_dir / "scans.txt").read_text())
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, (x.sum(1) > 0).long())
"""
JOB = f'task = "scans.py"\nsites = ["{SITE}"]\nrounds = 2\nquorum = 1\ndeadline = "5m"\n'
# The names of the edge lead to this machine; a real site has DNS for it.
HOSTS = "services:\n  trainer:\n    extra_hosts:\n" + "".join(
    f'      - "{name}.{DOMAIN}:host-gateway"\n' for name in ("amqp", "redis", "s3")
)


class Site:
    """deploy/site in a folder of its own, with what the site's people put there."""

    def __init__(self, folder: Path, bundle: str, image: str, certificate: Path) -> None:
        self.project = f"warren-site-{secrets.token_hex(3)}"
        self.folder = folder
        shutil.copy(ROOT / "deploy" / "site" / "docker-compose.yml", folder)
        (folder / "docker-compose.override.yml").write_text(HOSTS)
        (folder / ".env").write_text(bundle + "WARREN_CA_FILE=/certificates/ca.pem\n")
        for name, file, text in (
            ("tasks", "scans.py", TASK),
            ("data", "scans.txt", "7"),
            ("certificates", "ca.pem", certificate.with_name("edge.pem").read_text()),
        ):
            (folder / name).mkdir()
            (folder / name / file).write_text(text)
        outside = {name: value for name, value in os.environ.items() if not name.startswith("WARREN_")}
        self.environment = {**outside, "WARREN_IMAGE": image}

    def compose(self, *words: str, code: int | None = 0) -> str:
        done = subprocess.run(
            ["docker", "compose", "-p", self.project, *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def far_ports(self) -> set[int]:
        """The ports at the other end of all its established connections."""
        text = self.compose("exec", "-T", "trainer", "cat", "/proc/net/tcp", "/proc/net/tcp6")
        rows = [line.split() for line in text.splitlines() if ":" in line and "address" not in line]
        established = [row for row in rows if row[3] == "01" and not row[2].startswith("0100007F")]
        return {int(row[2].rpartition(":")[2], 16) for row in established}


@pytest.fixture(scope="module")
def site(extended: System, certificate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    folder.chmod(0o755)
    port = extended.ports["EDGE"]
    seen = [
        *("--seen-amqp", f"amqps://amqp.{DOMAIN}:{port}/"),
        *("--seen-redis", f"rediss://redis.{DOMAIN}:{port}/0"),
        *("--seen-s3", f"https://s3.{DOMAIN}:{port}"),
    ]
    bundle = extended.cli("site", "add", SITE, *seen, service="admin")
    made = Site(folder, bundle, extended.environment["WARREN_IMAGE"], certificate)
    made.compose("up", "--detach", "--wait")
    yield made
    made.compose("down", "--volumes", "--timeout", "5", code=None)


def test_a_site_trains_a_job_through_the_one_port_with_data_and_a_task_of_its_own(site: Site, extended: System) -> None:
    tasks = Path(extended.environment["WARREN_TASKS_FOLDER"])
    (tasks / "scans.py").write_text(TASK)
    (tasks / "job.toml").write_text(JOB)
    job = extended.submit("job.toml")
    extended.until(lambda: extended.job(job)["state"] == "done", f"{job} is done")
    records = read_log(site.compose("logs", "--no-log-prefix", "trainer"))
    trained = {one.get("round") for one in records if "update stored" in one["message"] and one.get("job") == job}
    assert trained == {0, 1, 2}
    assert site.far_ports() == {extended.ports["EDGE"]}


def test_a_sites_container_publishes_nothing_and_can_change_neither_its_data_nor_its_tasks(site: Site) -> None:
    container = site.compose("ps", "--quiet", "trainer").strip()
    found = json.loads(docker("inspect", container))[0]
    assert not any(found["NetworkSettings"]["Ports"].values())
    for path in ("/data/x", "/tasks/x", "/opt/x"):
        site.compose("exec", "-T", "trainer", "touch", path, code=1)
    assert sorted(path.name for path in (site.folder / "data").iterdir()) == ["scans.txt"]


def test_a_site_without_its_bundle_is_told_what_is_missing(site: Site, tmp_path: Path) -> None:
    shutil.copy(site.folder / "docker-compose.yml", tmp_path)
    words = ["docker", "compose", "-p", site.project, "config"]
    done = subprocess.run(
        words, cwd=tmp_path, env=site.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert "the bundle of `warren site add` belongs beside this file as .env" in done.stderr
