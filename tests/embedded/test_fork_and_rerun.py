"""Forked and rerun jobs, run to their end on one machine."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from services.member import WARREN
from services.tasks import write_job
from services.undisturbed import run_embedded
from services.watch import Watch

from warren.storage import keys
from warren.storage.documents import Manifest
from warren.storage.folder import FolderStore

RUN_SECONDS = 240.0
STRATEGY = {"name": "fedadam", "lr": 0.05}


class Runs:
    """A folder with one finished job, and commands on it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "runs"
        result = run_embedded(write_job(folder, strategy=STRATEGY), self.root, "--trainers", "1")
        self.job = str(result["job"])
        self.store = FolderStore(self.root)

    def warren(self, *words: str, code: int = 0) -> list[Any]:
        """Run a command on the folder; its lines of JSON."""
        command = [str(WARREN), *words, "--json", "--store", str(self.root)]
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
        )
        assert done.returncode == code, f"{done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"))


def test_a_fork_runs_to_its_end_and_its_rerun_starts_from_the_same_model(runs: Runs) -> None:
    (said,) = runs.warren("job", "fork", runs.job, "--at", "2", "--set", "rounds=1")
    new = said["job"]
    result = runs.warren("run", "--resume", new, "--trainers", "2")[-1]
    assert (result["state"], result["rounds"]) == ("done", 1)
    first = Manifest.model_validate_json(runs.store.read(keys.manifest(new, 1)))
    assert first.base is not None
    assert first.base.key == keys.checkpoint(new, 0)
    assert len(first.entries) == 4
    assert [one["state"] for one in runs.warren("job", "verify", new)] == ["same", "same"]
    assert runs.warren("job", "rerun", new, "--trainers", "2")[-1]["same"] == 2


def test_a_rerun_comes_to_the_same_bytes_and_says_so(runs: Runs) -> None:
    lines = runs.warren("job", "rerun", runs.job, "--trainers", "2")
    assert lines[0]["event"] == "rerun"
    assert lines[0]["differs"] == {}
    new = lines[0]["job"]
    assert lines[-1] == {"event": "compared", "job": new, "of": runs.job, "same": 4}
    assert Watch(runs.store, new).digests(3) == Watch(runs.store, runs.job).digests(3)
