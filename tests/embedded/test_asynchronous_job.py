"""Asynchronous jobs on one machine: each schedule to its end, through a death, and made again byte for byte."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from services.member import WARREN
from services.tasks import write_job
from services.undisturbed import run_embedded
from services.watch import Watch

from warren.aggregator.verifying import Verdict, Verifying
from warren.storage import keys
from warren.storage.documents import Manifest
from warren.storage.folder import FolderStore
from warren.storage.job import read_spec

WAIT_SECONDS = 120.0
ROUNDS = 6
LONG = 14  # versions: a job that is not over before it is killed, nor before all its clients were asked again
KINDS: dict[str, dict[str, Any]] = {
    "fedasync": {"kind": "fedasync", "alpha": 0.5},
    "fedbuff": {"kind": "fedbuff", "buffer": 2},
    "ssp": {"kind": "ssp", "staleness": 2},
}
KEPT: dict[str, Any] = {"keep_updates": ROUNDS + 1, "evaluate": {"every": 3}}


def made_again(store: FolderStore, job: str, scratch: Path) -> list[Verdict]:
    """What comes of making every version again from the log of updates."""
    with Verifying(store, read_spec(store.read(keys.spec(job))), scratch) as verifying:
        return list(verifying.run())


def counted(manifests: list[Manifest]) -> list[tuple[str, int]]:
    return [(entry.client, manifest.round_of(entry)) for manifest in manifests for entry in manifest.entries]


@pytest.mark.parametrize("kind", KINDS)
def test_an_asynchronous_job_ends_learns_and_is_made_again_with_the_same_bytes(tmp_path: Path, kind: str) -> None:
    packed: dict[str, Any] = {"compress": {"to": "int8"}} if kind == "fedbuff" else {}
    job_file = write_job(tmp_path, schedule=KINDS[kind], rounds=ROUNDS, **KEPT, **packed)
    result = run_embedded(job_file, tmp_path / "runs", "--trainers", "2")
    assert result["state"] == "done"
    assert result["held_out"]["accuracy"] > 0.8
    store = FolderStore(tmp_path / "runs")
    manifests = Watch(store, result["job"]).check(ROUNDS)
    assert len(set(counted(manifests))) == len(counted(manifests))
    if kind != "ssp":
        assert {len(manifest.entries) for manifest in manifests[1:]} == {1 if kind == "fedasync" else 2}
    assert any(manifest.round_of(e) < manifest.round for manifest in manifests for e in manifest.entries), "none stale"
    verdicts = made_again(store, result["job"], tmp_path / "spool")
    assert verdicts == [Verdict(number, "same") for number in range(ROUNDS + 1)]


def test_ssp_with_a_bound_of_0_gives_the_bytes_of_uniform_rounds(tmp_path: Path) -> None:
    digests = []
    for schedule in ({"kind": "ssp"}, {"kind": "synchronous"}):
        folder = tmp_path / schedule["kind"]
        uniform: dict[str, Any] = {"update": "delta", "strategy": {"name": "fedavg", "weighting": "uniform"}}
        result = run_embedded(write_job(folder, schedule=schedule, **uniform), folder / "runs", "--trainers", "1")
        digests.append(Watch(FolderStore(folder / "runs"), result["job"]).digests(3))
    assert digests[0] == digests[1]


def test_a_job_that_was_killed_in_the_middle_goes_on_and_its_log_still_gives_the_same_bytes(tmp_path: Path) -> None:
    gate, runs = tmp_path / "gate", tmp_path / "runs"
    job_file = write_job(
        tmp_path, gate=gate, schedule=KINDS["fedasync"], rounds=LONG, **(KEPT | {"keep_updates": LONG + 1})
    )
    (gate / "hold-c002").touch()  # stays out while the others' versions are made
    command = [str(WARREN), "run", str(job_file), "--json", "--store", str(runs), "--trainers", "2"]
    with (tmp_path / "err").open("w") as err, (tmp_path / "out").open("w") as out:
        running = subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True)
        try:
            _until(lambda: (gate / "reached-c002").exists() and _versions(runs) >= 2, running)
            running.send_signal(signal.SIGKILL)
            running.wait(WAIT_SECONDS)
        finally:
            running.kill()
    before = _versions(runs)
    job = next((runs / "jobs").iterdir()).name
    (gate / "hold-c002").unlink()
    resumed = [str(WARREN), "run", "--resume", job, "--json", "--store", str(runs), "--trainers", "2"]
    done = subprocess.run(resumed, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1])["state"] == "done"
    store = FolderStore(runs)
    manifests = Watch(store, job).check(LONG)
    assert len(set(counted(manifests))) == len(counted(manifests))
    assert [e.base for m in manifests[before + 1 :] for e in m.entries if e.client == "c002"][:1] == [0]
    assert {one.state for one in made_again(store, job, tmp_path / "spool")} == {"same"}


def _versions(runs: Path) -> int:
    return len([*runs.glob("jobs/*/checkpoints/*.safetensors")]) - 1


def _until(condition: Callable[[], bool], running: subprocess.Popen[bytes]) -> None:
    while not condition():
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(0.05)
