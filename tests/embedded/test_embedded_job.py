"""The main job on one machine: the same bytes however many trainers, and files that are anybody's."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from services.member import WARREN
from services.tasks import TASK, write_job
from services.undisturbed import run_embedded
from services.watch import Watch

from warren.storage.documents import Manifest
from warren.storage.folder import FolderStore

WAIT_SECONDS = 120.0


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of a run that is done, and its result."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, run_embedded(write_job(folder), folder / "runs", "--trainers", "1")


def test_four_trainers_give_the_bytes_of_one(tmp_path: Path, expected: Callable[..., list[str]]) -> None:
    result = run_embedded(write_job(tmp_path), tmp_path / "runs", "--trainers", "4")
    watch = Watch(FolderStore(tmp_path / "runs"), result["job"])
    watch.check(3)
    assert watch.digests(3) == expected()


def test_a_run_leaves_files_that_are_anybodys(finished: tuple[Path, dict[str, Any]]) -> None:
    made, result = finished
    folder = made / "runs" / "jobs" / result["job"]
    assert {path.name for path in folder.iterdir()} >= {
        "final.safetensors",
        "best.safetensors",
        "metrics.csv",
        "curves.png",
        "job.json",
    }
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert len(rows) == 1 + 4, rows  # a header, the initial model, three rounds
    manifests = [Manifest.model_validate_json(path.read_bytes()) for path in sorted((folder / "rounds").iterdir())]
    assert [len(m.entries) for m in manifests] == [1, 4, 4, 4]
    assert {"torch", "cpu", "threads"} <= manifests[1].entries[0].facts.keys()
    final = (folder / "final.safetensors").read_bytes()
    assert final == (folder / "checkpoints" / "round-00003.safetensors").read_bytes()


def test_the_model_loads_where_there_is_no_warren(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    made, result = finished
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(made / "points.py", bare)
    shutil.copy(result["places"]["final.safetensors"], bare)
    (bare / "use.py").write_text(
        textwrap.dedent(
            """
            import importlib.abc, sys

            class NoWarren(importlib.abc.MetaPathFinder):
                def find_spec(self, name, path=None, target=None):
                    if name.partition(".")[0] == "warren":
                        raise ModuleNotFoundError(name)

            sys.meta_path.insert(0, NoWarren())
            import safetensors.torch, torch
            from points import model, test_data
            module = model()
            module.load_state_dict(safetensors.torch.load_file("final.safetensors"))
            inputs, labels = test_data().tensors
            with torch.no_grad():
                print((module.eval()(inputs).argmax(1) == labels).float().mean().item())
            """
        )
    )
    done = subprocess.run(
        [sys.executable, "use.py"], cwd=bare, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0.8
    assert float(done.stdout) == pytest.approx(result["held_out"]["accuracy"])


def test_an_interrupted_run_that_is_resumed_gives_the_bytes_of_an_undisturbed_one(
    tmp_path: Path, expected: Callable[..., list[str]]
) -> None:
    gate, runs = tmp_path / "gate", tmp_path / "runs"
    job_file = write_job(tmp_path, gate=gate)
    (gate / "hold-c002").touch()
    command = [str(WARREN), "run", str(job_file), "--json", "--store", str(runs), "--trainers", "2"]
    with (tmp_path / "err").open("w") as err, (tmp_path / "out").open("w") as out:
        running = subprocess.Popen(command, stdout=out, stderr=err)
        try:
            _until((gate / "reached-c002").exists, running)
            running.send_signal(signal.SIGINT)
            assert running.wait(WAIT_SECONDS) == 130
        finally:
            running.kill()
    job = next((runs / "jobs").iterdir()).name
    assert f"--resume {job}" in (tmp_path / "err").read_text()
    (gate / "hold-c002").unlink()
    resumed = [str(WARREN), "run", "--resume", job, "--json", "--store", str(runs), "--trainers", "2"]
    done = subprocess.run(resumed, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1])["state"] == "done"
    watch = Watch(FolderStore(runs), job)
    watch.check(3)
    assert watch.digests(3) == expected()


def _until(condition: Callable[[], bool], running: subprocess.Popen[bytes]) -> None:
    while not condition():
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(0.05)


@pytest.mark.parametrize("update", ["weights", "delta"])
def test_a_federation_of_sites_runs_each_site_in_its_own_trainer(tmp_path: Path, update: str) -> None:
    job_file = write_job(tmp_path, sites=["general", "st-mary"], update=update, rounds=2)
    result = run_embedded(job_file, tmp_path / "runs", "--trainers", "1")
    manifest = Watch(FolderStore(tmp_path / "runs"), result["job"]).check(2)[2]
    assert [entry.source for entry in manifest.entries] == ["site.general", "site.st-mary"]


def test_a_crash_of_the_training_process_fails_the_client_and_the_round_goes_on(tmp_path: Path) -> None:
    source = TASK.replace("os.killpg(0, signal.SIGKILL)", "os.kill(os.getpid(), signal.SIGKILL)")
    poison = {"poison": "c001"}
    job_file = write_job(tmp_path, gate=tmp_path / "gate", source=source, quorum=3, rounds=2, data=poison)
    result = run_embedded(job_file, tmp_path / "runs", "--trainers", "2")
    for manifest in Watch(FolderStore(tmp_path / "runs"), result["job"]).check(2)[1:]:
        assert [entry.client for entry in manifest.entries] == ["c000", "c002", "c003"]
        assert "killed by signal 9" in manifest.failed["c001"]
