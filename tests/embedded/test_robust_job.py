"""A job of which some clients are an attacker's: the plain average is lost, a robust reducer is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from services.tasks import TASK, write_job
from services.undisturbed import run_embedded
from services.watch import Watch

from warren.storage.documents import Manifest
from warren.storage.folder import FolderStore

ATTACKED = (
    TASK
    + """

def train(model, dataset, context):
    optimizer = context.optimizer(model)
    loss = torch.nn.CrossEntropyLoss()
    for batch in context.batches(dataset):
        optimizer.zero_grad()
        loss(model(batch.inputs), batch.target).backward()
        optimizer.step()
    if context.client.name in ("c000", "c003"):
        with torch.no_grad():
            list(model.parameters())[-1][0] += 1e6  # a model that says the first class, whatever it is shown
"""
)
JOB: dict[str, Any] = {"clients": 7, "rounds": 3, "update": "weights"}


def accuracy(folder: Path, **fields: Any) -> float:
    result = run_embedded(write_job(folder, source=ATTACKED, **JOB, **fields), folder / "runs", "--trainers", "2")
    assert result["state"] == "done", result
    return float(result["held_out"]["accuracy"])


@pytest.mark.parametrize(
    ("reducer", "least"), [({"name": "krum", "f": 2}, 7), ({"name": "median", "before": "nnm", "f": 2}, 6)]
)
def test_a_robust_job_learns_what_the_honest_have_to_say(tmp_path: Path, reducer: dict[str, Any], least: int) -> None:
    assert accuracy(tmp_path / "robust", reducer=reducer) > 0.8
    store = FolderStore(tmp_path / "robust" / "runs")
    (job,) = store.folders("jobs/")
    Watch(store, job).check(3)
    for info in store.list(f"jobs/{job}/rounds/"):
        manifest = Manifest.model_validate_json(store.read(info.key))
        assert manifest.quorum == (least if manifest.round else 1)  # 80 % of 7 are 6; krum needs 2f + 3


def test_the_plain_average_is_the_attackers(tmp_path: Path) -> None:
    assert accuracy(tmp_path) < 0.6
