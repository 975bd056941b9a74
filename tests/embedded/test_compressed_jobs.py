"""Jobs whose updates travel packed: smaller in the store, learning all the same, and made again to the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from services.tasks import write_job
from services.undisturbed import run_embedded, undisturbed
from services.watch import Watch

from warren.aggregator.spool import Spool
from warren.aggregator.verifying import Verifying
from warren.storage import keys
from warren.storage.folder import FolderStore
from warren.storage.job import read_spec
from warren.storage.tensors import header_of

PLAIN_BYTES = 4 * (8 * 24 + 24 + 24 * 3 + 3)  # of the tensors

JOBS: list[tuple[dict[str, Any], float]] = [  # the job, the most bytes of its tensors beside the plain ones
    ({"compress": {"to": "bf16"}}, 0.5),
    ({"update": "delta", "compress": {"to": "int8", "scale": "channel"}}, 0.75),  # scales: one a row, few columns
    ({"update": "delta", "compress": {"to": "topk", "share": 0.25}}, 0.55),
]


@pytest.mark.parametrize(("fields", "share"), JOBS, ids=["bf16", "int8", "topk"])
def test_a_job_with_packed_updates_learns_and_is_verified(tmp_path: Path, fields: dict[str, Any], share: float) -> None:
    result = run_embedded(write_job(tmp_path, rounds=4, keep_updates=5, **fields), tmp_path / "runs", "--trainers", "2")
    assert result["state"] == "done"
    store = FolderStore(tmp_path / "runs")
    updates = [name for info in store.list(keys.updates(result["job"], 4)) for name in keys.read_updates(info.key)]
    assert len(updates) == 4
    for name in updates:
        header = header_of(Spool(store, tmp_path / "updates").read(name.place, 1 << 20))
        assert header.size - header.data_start <= share * PLAIN_BYTES
    assert result["held_out"]["accuracy"] > 0.8, result
    spec = read_spec(store.read(keys.spec(result["job"])))
    with Verifying(store, spec, tmp_path / "spool") as verifying:
        assert [verdict.state for verdict in verifying.run()] == ["same"] * 5


def test_stochastic_rounding_follows_the_seed_and_not_the_trainers(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"update": "delta", "compress": {"to": "int8", "zstd": 1}}
    result = run_embedded(write_job(tmp_path / "two", **fields), tmp_path / "runs", "--trainers", "2")
    assert Watch(FolderStore(tmp_path / "runs"), result["job"]).digests(3) == undisturbed(tmp_path / "one", **fields)
