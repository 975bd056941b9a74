"""`warren run`, whole: a federation in one process tree, interrupted, resumed, and ended as told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from warren.cli.running import warren_here

TASK = '''\
"""A line fitted by all clients; each batch takes a while, so that a run can be interrupted."""
import time

import torch
from torch import nn
from torch.utils.data import TensorDataset


class Slow(nn.Linear):
    def forward(self, inputs):
        time.sleep(self.pause)
        return super().forward(inputs)


def model(pause=0.0):
    made = Slow(2, 1)
    made.pause = pause
    return made


def data(client, broken=-1):
    if client.index == broken:
        raise ValueError("no such scan")
    inputs = torch.randn(40, 2, generator=torch.Generator().manual_seed(client.index))
    return TensorDataset(inputs, inputs @ torch.tensor([[1.0], [2.0]]))


def test_data():
    inputs = torch.ones(8, 2)
    return TensorDataset(inputs, inputs @ torch.tensor([[1.0], [2.0]]))
'''
JOB = 'task = "line.py"\nclients = 3\nrounds = 4\ndeadline = "2m"\n[train]\nlr = 0.05\nbatch_size = 40\n'
PATIENCE_SECONDS = 120


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "line.py").write_text(TASK)
    (tmp_path / "job.toml").write_text(JOB)
    return tmp_path


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "NO_COLOR": "1", "WARREN_DEVICE": "cpu"}


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "warren.cli.main", "run", *words, "--store", str(folder / "runs")]


def run(folder: Path, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *words),
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        cwd=folder,
    )


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def final(folder: Path, job: str) -> bytes:
    return (folder / "runs" / "jobs" / job / "final.safetensors").read_bytes()


@pytest.fixture
def interrupted(folder: Path, environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A run that has committed its first round, and is still far from its last."""
    words = command(folder, "job.toml", "--json", "-P", "pause=0.3", "--trainers", "1")
    process = subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder
    )
    try:
        assert process.stdout is not None
        told = next(event for event in map(json.loads, process.stdout) if event["event"] == "round")
        yield process, told["job"]
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def test_an_interrupted_run_says_how_to_go_on_and_ends_with_the_bytes_of_an_undisturbed_one(
    interrupted: tuple[subprocess.Popen[str], str], folder: Path, environment: dict[str, str]
) -> None:
    process, job = interrupted
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert f"warren run --resume {job} --store {folder / 'runs'}" in said
    assert not list((folder / "runs").glob(".run-*"))

    resumed = run(folder, environment, "--resume", "@last", "--json", "--trainers", "2")
    assert resumed.returncode == 0, resumed.stderr
    result = events(resumed.stdout)[-1]
    assert (result["event"], result["state"], result["job"], result["rounds"]) == ("result", "done", job, 4)

    whole = run(folder, environment, "job.toml", "--json", "-P", "pause=0.0")
    assert final(folder, events(whole.stdout)[-1]["job"]) == final(folder, job)


@pytest.fixture
def limping(folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A run in which one of three clients fails in each round."""
    return run(folder, environment, "job.toml", "--rounds", "2", "--set", "quorum=2", "--set", "data.broken=1")


def test_a_run_names_a_client_that_fails_goes_on_and_ends_with_its_results(
    limping: subprocess.CompletedProcess[str], folder: Path, environment: dict[str, str]
) -> None:
    assert limping.returncode == 0, limping.stderr
    failures = [line for line in limping.stdout.splitlines() if "failed" in line]
    assert len(failures) == 2
    assert "round 1/2  c001 failed: ValueError at line.py:23: no such scan" in failures[0]
    assert "done, 2 of 2 rounds" in limping.stdout
    assert "(round 2, 8 examples)" in limping.stdout
    places = [folder / line.split()[-1] for line in limping.stdout.splitlines() if " runs/" in line]
    assert {place.name for place in places} >= {"final.safetensors", "curves.png", "metrics.csv", "checkpoints"}
    assert all(place.exists() for place in places)
    again = run(folder, environment, "--resume", "@last")
    assert again.returncode == 0
    assert "done, 2 of 2 rounds" in again.stdout


def test_a_run_below_its_quorum_pauses_and_says_how_to_go_on(folder: Path, environment: dict[str, str]) -> None:
    words = ("job.toml", "--json", "--set", "quorum=3", "--set", "data.broken=1")
    paused = run(folder, environment, *words)
    assert paused.returncode == 3, paused.stderr
    assert "warren run --resume" in paused.stderr
    told = events(paused.stdout)
    (state,) = [event for event in told if event["event"] == "state" and event["state"] == "paused"]
    assert "quorum" in state["reason"]


def test_each_site_is_run_on_this_machine_too(folder: Path, environment: dict[str, str]) -> None:
    (folder / "job.toml").write_text(JOB.replace("clients = 3", 'sites = ["st-mary", "general", "north"]'))
    done = run(folder, environment, "job.toml", "--rounds", "1", "--json", "--trainers", "2")
    assert done.returncode == 0, done.stderr
    (told,) = [event for event in events(done.stdout) if event["event"] == "round"]
    assert told["valid"] == 3


def test_a_device_that_is_not_there_ends_the_run_with_the_reason(folder: Path, environment: dict[str, str]) -> None:
    done = run(folder, environment, "job.toml", "--device", "cuda:99")
    assert done.returncode == 1
    assert done.stderr.startswith("warren: ")
    assert "cuda:99" in done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "name a job to run, or one to --resume."),
        (("job.toml", "--resume", "x"), "name a job to run, or one to --resume."),
        (("--resume", "x", "--rounds", "3"), "--resume goes on with the job as it is"),
        (("--resume", "x"), "no folder"),
    ],
)
def test_words_that_name_no_one_run_are_refused(
    folder: Path, environment: dict[str, str], words: tuple[str, ...], expected: str
) -> None:
    done = run(folder, environment, *words)
    assert done.returncode == 2
    assert expected in done.stderr


def test_the_line_that_goes_on_is_one_that_this_shell_can_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "my env" / "warren"
    program.parent.mkdir()
    program.touch(0o755)
    monkeypatch.setattr(sys, "argv", [str(program), "run", "digits"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert warren_here() == f"'{program}'"
    monkeypatch.setenv("PATH", str(program.parent))
    assert warren_here() == "warren"
