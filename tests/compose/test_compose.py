"""`docker compose up` under a real engine: the whole system, as its users meet it. One installation for all tests."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from compose.console import console
from compose.get import browser_program
from compose.refusals import PROBE, REFUSALS
from compose.system import ROOT, System, docker, read_log

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1800)]

TASK = """
import torch
from torch.utils.data import TensorDataset


def model():
    return torch.nn.Linear(4, {classes})


def data(client):
    generator = torch.Generator().manual_seed(client.index)
    x = torch.randn(64, 4, generator=generator)
    return TensorDataset(x, (x.sum(1) > 0).long())
"""


@pytest.fixture(scope="module")
def started(system: System) -> float:
    """Seconds from `up` until all are healthy."""
    return system.up()


@pytest.fixture(scope="module")
def first_job(system: System, started: float) -> str:
    shown = system.cli("submit", "digits", "--follow", "--set", "rounds=3")
    job = shown.split()[0]
    assert system.job(job)["state"] == "done", shown
    return job


def test_a_bare_up_makes_everything_healthy_and_commits_a_round(tmp_path: Path, system: System) -> None:
    begun = time.monotonic()
    healthy = system.up()
    job = system.submit("digits", "--set", "rounds=1")
    system.until(lambda: system.job(job)["state"] == "done", f"{job} is done")
    print(f"\nall healthy {healthy:.0f} s after up; a job of one round done after {time.monotonic() - begun:.0f} s")
    sizes = docker("images", "--format", "{{.Repository}}:{{.Tag}} {{.Size}}").splitlines()
    print("\n".join(line for line in sizes if line.startswith(system.environment["WARREN_IMAGE"])))


def test_a_followed_job_ends_well_and_its_checkpoints_are_there(system: System, first_job: str) -> None:
    found = system.cli("checkpoint", "list", first_job)
    assert all(f"{number}" in found for number in range(4))
    shown = system.cli("watch", first_job)
    assert "done" in shown


def test_doctor_finds_nothing_wrong_with_it(system: System, first_job: str) -> None:
    for service in ("cli", "admin"):
        found = [json.loads(line) for line in system.cli("doctor", "--json", service=service).splitlines()]
        assert found
        assert [one for one in found if one["level"] not in ("ok", "note")] == []


def test_credentials_are_made_once_and_differ_for_each_party(system: System, started: float) -> None:
    before, others = system.logins(), system.logins("admin")
    system.compose("run", "--rm", "-T", "credentials")
    assert system.logins() == before
    assert before["MinIO"][0] == "warren-cli"
    assert not {word for _, word in before.values()} & {word for _, word in others.values()}


def test_a_container_of_ours_can_write_nothing_but_its_scratch_and_sees_no_secrets_of_others(
    system: System, started: float
) -> None:
    for service in ("aggregator", "trainer"):
        assert system.execute(service, "id", "-u").strip() == "10001"
        assert system.execute(service, "touch", "/opt/warren/x", code=None) == ""
        assert "x" not in system.execute(service, "ls", "/opt/warren").split()
        system.execute(service, "touch", "/scratch/x")
        seen = system.execute(service, "find", "/credentials", "-type", "f").split()
        assert seen, "its own are there"
        assert all(path.startswith(f"/credentials/{service}/") for path in seen)


def test_a_model_carries_its_round_state_and_accuracy_where_the_console_shows_them(
    system: System, first_job: str
) -> None:
    shown = json.loads(system.execute("aggregator", "python3", "-c", TAGS, first_job))
    for name, state in {"checkpoints/round-00003": "evaluated", "final": "final", "best": "best"}.items():
        assert shown[name]["state"] == state
        assert 0 < float(shown[name]["accuracy"]) <= 1
    assert [shown[f"checkpoints/round-0000{number}"]["round"] for number in range(4)] == ["0", "1", "2", "3"]


TAGS = """
import json, os, sys
from minio import Minio
read = lambda name: open(os.environ[name]).read()
keys = read("WARREN_S3_ACCESS_KEY_FILE"), read("WARREN_S3_SECRET_KEY_FILE")
client = Minio("minio:9000", access_key=keys[0], secret_key=keys[1], secure=False)
found, prefix = {}, f"jobs/{sys.argv[1]}/"
for one in client.list_objects(bucket_name="warren", prefix=prefix, recursive=True):
    if one.object_name.endswith(".safetensors"):
        tags = client.get_object_tags(bucket_name="warren", object_name=one.object_name) or {}
        found[one.object_name.removeprefix(prefix).removesuffix(".safetensors")] = dict(tags)
print(json.dumps(found))
"""


@pytest.mark.parametrize("account", REFUSALS)
def test_the_account_is_refused_what_docs_security_says(account: str, system: System, first_job: str) -> None:
    words = ["python3", "-c", PROBE, first_job, json.dumps(REFUSALS[account])]
    ran = system.compose("run", "--rm", "-T", "--entrypoint", words[0], account, *words[1:])
    assert json.loads(ran) == []


def test_each_service_shows_health_and_metrics_and_logs_one_object_a_line(system: System, first_job: str) -> None:
    ask = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9100/metrics').read().decode())"
    shown = system.execute("aggregator", "python3", "-c", ask)
    assert f'warren_rounds_committed_total{{job="{first_job}"}} 4.0' in shown
    assert 'warren_completions_total{kind="train",outcome="updated"}' in system.execute("trainer", "python3", "-c", ask)
    for service in ("aggregator", "trainer"):
        records = read_log(system.compose("logs", "--no-log-prefix", service))
        assert records
    assert any(one.get("job") == first_job and one.get("round") == 2 for one in records)


def test_a_changed_task_runs_without_a_rebuild(system: System, started: float, tmp_path: Path) -> None:
    folder = Path(system.environment["WARREN_TASKS_FOLDER"])
    (folder / "job.toml").write_text('task = "mine.py"\nclients = 3\nrounds = 1\n')
    for classes in (2, 3):
        (folder / "mine.py").write_text(TASK.format(classes=classes))
        job = system.submit("job.toml")
        system.until(lambda job=job: system.job(job)["state"] == "done", f"{job} is done")


@pytest.mark.drill
def test_trainers_scale_and_a_killed_one_and_a_killed_aggregator_cost_nothing(system: System, started: float) -> None:
    system.up("--scale", "trainer=3")
    system.until(lambda: len(system.cli("trainer", "list", "--json").splitlines()) >= 3, "three trainers are there")
    job = system.submit("digits", "--set", "rounds=12")
    system.until(lambda: int(str(system.job(job)["round"] or 0)) >= 2, "it goes on")
    system.kill("trainer")
    system.kill("aggregator")
    system.up("--scale", "trainer=3")
    system.until(lambda: system.job(job)["state"] == "done", f"{job} is done")
    assert system.job(job)["round"] == 12


def test_the_command_on_the_host_reaches_it_by_a_context_of_its_own(
    system: System, first_job: str, tmp_path: Path
) -> None:
    files = {"COMPOSE_PROJECT_NAME": system.project, "WARREN_CONFIG": str(tmp_path / "contexts.toml")}

    def warren(*words: str) -> str:
        done = subprocess.run(
            [str(Path(sys.executable).with_name("warren")), *words],
            cwd=ROOT,
            env=system.environment | files,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    warren("context", "add", "compose", "--from-compose")
    assert warren("checkpoint", "list", first_job, "--context", "compose").count("/round-") == 4
    _, secret = system.logins()["MinIO"]
    assert secret not in (tmp_path / "contexts.toml").read_text()
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and secret in path.read_text()]
    assert {path.stat().st_mode & 0o077 for path in kept} == {0}


@pytest.mark.drill
def test_a_restart_of_everything_costs_no_round(system: System, started: float) -> None:
    job = system.submit("digits", "--set", "rounds=12")
    system.until(lambda: int(str(system.job(job)["round"] or 0)) >= 2, "it goes on")
    system.compose("restart", "--timeout", "10")
    system.until(system.healthy, "all are healthy again")
    system.until(lambda: system.job(job)["state"] == "done", f"{job} is done")
    system.cli("job", "verify", job)
    assert system.job(job)["round"] == 12


def test_a_site_gets_accounts_from_the_admin_service_that_outlive_a_restart(system: System, started: float) -> None:
    bundle = system.cli("site", "add", "st-mary", service="admin")
    assert "WARREN_SITE=st-mary" in bundle
    system.compose("restart", "redis", "rabbitmq", "minio")
    system.until(system.healthy, "all are healthy again")
    listed = system.cli("site", "list", "--json", service="admin").splitlines()
    assert json.loads(listed[0]) == {"site": "st-mary", "rabbitmq": True, "redis": True, "store": True}
    system.cli("site", "revoke", "st-mary", service="admin")
    assert system.cli("site", "list", "--json", service="admin") == ""


@pytest.mark.drill
def test_what_docs_operating_backs_up_is_restored_to_an_empty_installation_and_the_job_goes_on(
    system: System, started: float, tmp_path: Path
) -> None:
    backup, restore = recipes("Backup and restore")
    system.cli("site", "add", "general", service="admin")
    job = system.submit("digits", "--set", "rounds=30")
    system.until(lambda: int(str(system.job(job)["round"] or 0)) >= 3, "it goes on")
    run_recipe(system, backup, tmp_path)
    before = digests(system, job)
    assert len(before) >= 4
    logins = system.logins()
    system.compose("--profile", "*", "down", "--volumes", "--timeout", "5")
    run_recipe(system, restore, tmp_path)
    system.until(system.healthy, "all are healthy again")
    system.until(lambda: system.job(job)["state"] == "done", f"{job} is done")
    after = digests(system, job)
    assert len(after) == 31
    system.cli("job", "verify", job)
    assert system.logins() == logins
    listed = system.cli("site", "list", "--json", service="admin").splitlines()
    assert json.loads(listed[0]) == {"site": "general", "rabbitmq": True, "redis": True, "store": True}


def recipes(heading: str) -> list[str]:
    """The blocks of shell under a heading of docs/operating.md."""
    text = (ROOT / "docs" / "operating.md").read_text()
    section = text.partition(f"### {heading}\n")[2].partition("\n##")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def run_recipe(system: System, words: str, folder: Path) -> None:
    named = {"COMPOSE_PROJECT_NAME": system.project, "COMPOSE_FILE": str(ROOT / "docker-compose.yml")}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", words],
        cwd=folder,
        env=system.environment | named,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def digests(system: System, job: str) -> list[str]:
    """What the manifests' checkpoints are, in their order."""
    shown = system.cli("checkpoint", "list", job, "--json").splitlines()
    return [line for line in shown if '"round": "' not in line]


def test_the_consoles_login_browses_to_a_checkpoint(system: System, first_job: str) -> None:
    if browser_program() is None:
        pytest.fail("no Chromium: install chromium and chromium-driver")
    user, password = system.logins()["MinIO"]
    pictures = ROOT / "docs" / "images"
    with console(f"http://127.0.0.1:{system.ports['MINIO_CONSOLE']}") as visit:
        visit.log_in(user, password)
        visit.open_row("warren")
        visit.wait_for("jobs")
        for folder in ("jobs", first_job, "checkpoints"):
            visit.open_row(folder)
        visit.wait_for("round-00003.safetensors")
        visit.picture(pictures / "minio-checkpoints.png")
        visit.open_row("round-00003.safetensors")
        visit.wait_for("Download")
        visit.wait_for("accuracy")  # a tag
        visit.picture(pictures / "minio-checkpoint.png")
