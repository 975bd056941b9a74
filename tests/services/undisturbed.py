"""What a job comes to when nothing disturbs it: an embedded run of the same job file."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from services.member import WARREN
from services.tasks import write_job
from services.watch import Watch

from warren.storage.folder import FolderStore

RUN_SECONDS = 240.0


def run_embedded(job_file: Path, store: Path, *words: str, code: int = 0) -> dict[str, Any]:
    """`warren run` to its end; the last line of its JSON."""
    command = [str(WARREN), "run", str(job_file), "--json", "--store", str(store), "--device", "cpu", *words]
    done = subprocess.run(
        command, cwd=job_file.parent, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
    assert done.returncode == code, f"{done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def undisturbed(folder: Path, **fields: Any) -> list[str]:
    """The digests of an embedded run's checkpoints, from round 0."""
    result = run_embedded(write_job(folder, **fields), folder / "runs", "--trainers", "1")
    assert result["state"] == "done", result
    store = FolderStore(folder / "runs")
    return Watch(store, result["job"]).digests(result["rounds"])
