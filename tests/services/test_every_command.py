"""Each command run as a person runs it, on real servers: one story from nothing to a removed job."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from services.fleet import Fleet
from services.member import WARREN
from services.tasks import write_job

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]  # forty commands, each a process of its own


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_person_goes_through_every_command(fleet: Fleet) -> None:
    run = fleet.warren

    (fleet.folder / "secret").write_text("guest\n")
    run("context", "add", "lab", "--amqp", "amqp://mq.lab:5672/", "--amqp-password", f"file:{fleet.folder / 'secret'}")
    assert "***" in run("context", "show", "--context", "lab")
    assert "lab" in run("context", "list")
    run("context", "use", "lab")
    assert rows(run("context", "list", "--json"))[0]["current"] is True

    assert run("new", "rings").splitlines() == ["rings.py", "rings.toml"]
    assert json.loads(run("check", "rings.toml", "--json"))["parameters"] == 1218
    assert "_warren_completion" in run("completion", "zsh")
    run("credentials", "make", "made")
    assert "queues are there" in run("setup", "--pool", "gpu")
    assert all(one["level"] != "unreachable" for one in rows(run("doctor", "--json")))

    fleet.add("aggregator", "agg")
    trainer = fleet.add("trainer", "train")
    assert [one["name"] for one in rows(run("aggregator", "list", "--json"))] == ["agg-1"]
    assert "train-1" in run("trainer", "list")

    job_file = str(write_job(fleet.folder, rounds=2))
    assert "rounds = 2" in run("submit", job_file, "--dry-run")
    job = run("submit", job_file, "--set", "train.lr=0.05").strip()
    told = rows(run("watch", job, "--json"))
    assert [one["round"] for one in told if one["event"] == "round"] == [1, 2]
    assert all(len(one["client_seconds"]) == 4 for one in told if one["event"] == "round")

    assert rows(run("job", "list", "--json"))[0]["state"] == "done"
    assert "CLOSED" in run("job", "show", "@last")
    assert rows(run("job", "verify", job, "--json"))[-1]["state"] == "same"
    assert [one["round"] for one in rows(run("checkpoint", "list", job, "--json"))][:3] == [0, 1, 2]
    assert run("checkpoint", "get", job, "1", "-o", "one.safetensors").strip() == "one.safetensors"
    assert "differs" in run("checkpoint", "diff", "one.safetensors", f"{job}:2", code=1)
    assert "the same" in run("checkpoint", "diff", f"{job}:2", job)
    run("checkpoint", "evaluate", job, "--device", "cpu", code=1)  # the task's code is not installed here
    measured = json.loads(run("checkpoint", "evaluate", job, "--accept-code", "--device", "cpu", "--json"))
    assert (measured["on"], measured["examples"]) == ("held-out", 200)

    assert "is gone" in run("trainer", "drain", "train-1", "--wait", "30")
    assert "no trainer 'train-1' is there" in fleet_error(fleet, "trainer", "drain", "train-1")
    fleet.until(lambda: not trainer.alive, "the drained trainer ends")

    other = run("job", "fork", job, "--at", "1").strip()
    run("job", "pause", other, "--reason", "no trainer")
    run("job", "resume", other)
    run("job", "cancel", other)
    assert "train.lr" not in run("job", "diff", job, other)
    again = run("job", "rerun", job).splitlines()[0].split()[0]
    run("job", "cancel", again)
    assert run("dead-letter", "list", "--json") == ""
    run("job", "gc", "--dry-run")
    run("job", "rm", other, again, "--force")


def fleet_error(fleet: Fleet, *words: str) -> str:
    """What a command that ends with 2 says."""

    done = subprocess.run(
        [str(WARREN), *words], env=fleet.environment, cwd=fleet.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    return done.stderr
