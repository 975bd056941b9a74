"""Algorithms with a part at the clients, from a job file to the end: real leader, trainers and averaging."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from services.member import WARREN
from services.tasks import TASK, write_job
from services.undisturbed import run_embedded
from services.watch import Watch

from warren.aggregator.verifying import Verdict, Verifying
from warren.storage import keys
from warren.storage.folder import FolderStore
from warren.storage.job import read_spec
from warren.storage.tensors import read_header
from warren.storage.torch_tensors import map_file

WAIT_SECONDS = 120.0
NORMED = TASK.replace("torch.nn.ReLU()", "torch.nn.BatchNorm1d(hidden), torch.nn.ReLU()")

BN = {"lr": 0.1, "rule": "fedbn", "batch_size": 12}  # no batch of 1, which has no variance

JOBS: dict[str, dict[str, Any]] = {
    "scaffold": {"strategy": {"name": "scaffold"}},
    "fednova": {"strategy": {"name": "fednova"}, "train": {"lr": 0.1, "momentum": 0.5}},
    "feddyn": {"strategy": {"name": "feddyn", "alpha": 0.1}},
    "diloco": {
        "strategy": {"name": "diloco"},
        "train": {"lr": 0.02, "optimizer": "adamw", "steps": 8, "batch_size": 16},
    },
    "fedexp, with a mean beside it": {"strategy": {"name": "fedexp", "ema": 0.5}},
    "fedbn": {"train": BN, "source": NORMED},
    "ditto": {"train": {"lr": 0.1, "rule": "ditto"}, "update": "delta"},
}


@pytest.mark.parametrize("name", JOBS)
def test_a_job_runs_to_its_end_learns_and_verifies(name: str, tmp_path: Path) -> None:
    result = run_embedded(write_job(tmp_path, **JOBS[name]), tmp_path / "runs", "--trainers", "2")
    assert result["state"] == "done"
    assert result["held_out"]["accuracy"] > 0.7
    store = FolderStore(tmp_path / "runs")
    Watch(store, result["job"]).check(3)
    with Verifying(store, read_spec(store.read(keys.spec(result["job"]))), tmp_path / "spool") as verifying:
        last = list(verifying.run())[-2:]  # updates of the older rounds are not kept
    assert last == [Verdict(2, "same"), Verdict(3, "same")]


def test_batch_norm_layers_of_sites_are_in_no_update_and_never_in_the_store(tmp_path: Path) -> None:
    sites = ["north", "south"]
    job = write_job(tmp_path, source=NORMED, train=BN, sites=sites, keep_updates=9)
    result = run_embedded(job, tmp_path / "runs")
    store = FolderStore(tmp_path / "runs")
    normed = {"1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"}
    updates = [info.key for info in store.list(keys.updates(result["job"])) if "/00000/" not in info.key]
    assert len(updates) == 6
    for key in updates:
        assert not normed & read_header(path_of(store, key)).tensors.keys()
    assert not list(store.list(keys.client_states(result["job"])))
    first, last = (map_file(path_of(store, keys.checkpoint(result["job"], n))) for n in (0, 3))
    assert all(bool((first[name] == last[name]).all()) for name in normed)
    for site in sites:
        kept = sorted((tmp_path / "runs" / "personal" / result["job"] / site).iterdir())
        assert kept
        assert {name.removeprefix("own/") for name in read_header(kept[-1]).tensors} == normed


def test_an_interrupted_scaffold_job_gives_the_bytes_of_an_undisturbed_one(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"strategy": {"name": "scaffold"}, "rounds": 4}
    whole = run_embedded(write_job(tmp_path / "whole", **fields), tmp_path / "whole" / "runs", "--trainers", "1")
    gate, runs = tmp_path / "gate", tmp_path / "runs"
    job_file = write_job(tmp_path, gate=gate, **fields)
    command = [str(WARREN), "run", str(job_file), "--json", "--store", str(runs), "--trainers", "2"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    store = FolderStore(runs)
    try:
        until(lambda: bool(rounds_of(store)) and max(rounds_of(store)) >= 1)
        (gate / "hold-c002").touch()
        running.send_signal(signal.SIGKILL)
    finally:
        running.wait(WAIT_SECONDS)
    (job,) = store.folders("jobs/")
    (gate / "hold-c002").unlink()
    resumed = [str(WARREN), "run", "--resume", job, "--json", "--store", str(runs), "--trainers", "2"]
    done = subprocess.run(resumed, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1])["state"] == "done"
    watch = Watch(store, job)
    watch.check(4)
    assert watch.digests(4) == Watch(FolderStore(tmp_path / "whole" / "runs"), whole["job"]).digests(4)


def rounds_of(store: FolderStore) -> list[int]:
    found = [info.key for job in store.folders("jobs/") for info in store.list(keys.manifests(job))]
    return [int(key[-10:-5]) for key in found]


def path_of(store: FolderStore, key: str) -> Path:
    path = store.local_path(key)
    assert path is not None
    return path


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)
