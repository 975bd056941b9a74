"""The example of a strategy of one's own, installed as its README says, in a job that runs to its end."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from services.tasks import write_job
from services.undisturbed import run_embedded

from warren.storage import keys
from warren.storage.folder import FolderStore
from warren.storage.torch_tensors import map_file

EXAMPLE = Path(__file__).parents[2] / "examples" / "own-strategy"
BUILD_SECONDS = 240


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example in a folder of its own, as `pip install` leaves it, on the path of every process that is started."""
    copy, target = tmp_path / "copy", tmp_path / "packages"
    shutil.copytree(EXAMPLE, copy)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(copy)], check=True, timeout=BUILD_SECONDS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(target), *filter(None, [os.environ.get("PYTHONPATH")])]))


def test_a_strategy_of_ones_own_steps_the_model(installed: None, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job", strategy={"name": "signs", "lr": 0.015625, "momentum": 0.0}, rounds=2)
    result = run_embedded(job, tmp_path / "runs", "--trainers", "1")
    assert (result["state"], result["rounds"]) == ("done", 2)
    store, models = FolderStore(tmp_path / "runs"), []
    for number in range(3):
        path = store.local_path(keys.checkpoint(result["job"], number))
        assert path is not None
        models.append(map_file(path))
    for before, after in itertools.pairwise(models):
        for name, tensor in after.items():
            moved = (tensor - before[name]).abs()
            assert torch.isclose(moved, torch.tensor(0.015625), atol=1e-6).logical_or(moved == 0).all()
    state = store.local_path(keys.optimizer(result["job"], 2))
    assert state is not None
    assert sorted(map_file(state)) == sorted(f"m/{name}" for name in models[0])


def test_without_the_package_its_name_is_answered(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job", strategy={"name": "signs"})
    done = subprocess.run(
        [str(Path(sys.executable).with_name("warren")), "run", str(job), "--store", str(tmp_path / "runs")],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert "there is no strategy 'signs'" in done.stderr
