"""Packed updates at the aggregator: examined, counted, written, and made again to the same bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from made.committed import CLIENTS, FACTS, LAYOUT, WORK, CommittedJob

from warren.aggregator.averaging import Averaging
from warren.aggregator.ports import UpdateRejected
from warren.aggregator.verifying import Verifying
from warren.storage import keys
from warren.storage.documents import Base, Entry
from warren.storage.folder import FolderStore
from warren.storage.keys import UpdateName
from warren.storage.torch_tensors import map_file, save
from warren.trainer.packed import save_packed

METHODS: list[dict[str, Any]] = [
    {"compress": {"to": "bf16"}},
    {"compress": {"to": "int8", "zstd": 1}},
    {"update": "delta", "compress": {"to": "topk", "share": 0.1, "error_feedback": False}},
]


class Remote(FolderStore):
    """A store whose files are not at hand: every object is fetched."""

    def local_path(self, key: str) -> Path | None:
        return None


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "runs")


def said(client: str, attempt: str) -> dict[str, str]:
    facts = {"warren": "1", "job": "lung-aaa111", "round": "2", "kind": "train", "client": client, "attempt": attempt}
    return facts | FACTS | LAYOUT | {"examples": "10", "metrics": "{}"}


def put(job: CommittedJob, folder: Path, client: str, attempt: str, tensor: torch.Tensor) -> UpdateName:
    """Store a packed update of round 2."""
    path = folder / "update"
    work = replace(WORK, spec=job.spec, job_round=2, client=client, attempt=attempt, output_path=path)
    save_packed(work, {"w": tensor}, ("w",), said(client, attempt))
    job.store.create(keys.update(job.job, 2, "pool.default", client, attempt), path)
    return UpdateName(job.job, 2, "pool.default", client, attempt)


def examined(numbers: Averaging, job: CommittedJob, folder: Path, base: Base) -> list[Entry]:
    chance = torch.Generator().manual_seed(3)
    names = [put(job, folder, client, "fresh", torch.randn(64, generator=chance)) for client in CLIENTS]
    return [numbers.examine(name, job.spec, base, None) for name in names]


@pytest.mark.parametrize("fields", METHODS, ids=str)
@pytest.mark.parametrize("room", [0, 1 << 30], ids=["no room", "room"])
@pytest.mark.parametrize("kind", [FolderStore, Remote])
def test_a_round_of_packed_updates_is_written_alike_by_whoever_examined_them_or_did_not(
    tmp_path: Path, fields: dict[str, Any], room: int, kind: type[FolderStore]
) -> None:
    store = kind(tmp_path / "runs")
    job = CommittedJob(store, tmp_path, rounds=1, **fields)
    numbers = Averaging(store, tmp_path / "aggregator", room)
    base = numbers.base(job.job, 1)
    entries = examined(numbers, job, tmp_path, base)
    for entry in entries:
        info = store.stat(keys.update(job.job, 2, entry.source, entry.client, entry.attempt))
        assert info is not None
        assert entry.size == info.size
        numbers.offer(job.spec, 2, entry, CLIENTS)
    manifest = job.freeze(2).model_copy(update={"entries": tuple(entries), "base": base})
    key = keys.checkpoint(job.job, 2)
    found = []
    for writer in (numbers, Averaging(store, tmp_path / "another")):
        writer.write(job.spec, manifest)
        found.append(store.read(key))
        store.delete(key)
    assert found[0] == found[1]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("fields", METHODS, ids=str)
def test_a_packed_update_that_holds_no_number_is_rejected_and_leaves_no_file(
    store: FolderStore, tmp_path: Path, fields: dict[str, Any], value: float
) -> None:
    job = CommittedJob(store, tmp_path, rounds=1, **fields)
    numbers = Averaging(store, tmp_path / "aggregator")
    tensor = torch.ones(64)
    tensor[5] = value
    with pytest.raises(UpdateRejected, match="'w' h"):
        numbers.examine(put(job, tmp_path, "c000", "odd", tensor), job.spec, numbers.base(job.job, 1), None)
    assert not [path for path in (tmp_path / "aggregator").rglob("*") if "odd" in path.name]


def test_a_plain_update_to_a_job_that_packs_is_rejected(store: FolderStore, tmp_path: Path) -> None:
    job = CommittedJob(store, tmp_path, rounds=1, compress={"to": "int8"})
    numbers = Averaging(store, tmp_path / "aggregator")
    save(tmp_path / "update", {"w": torch.ones(64)}, said("c000", "plain"))
    name = UpdateName(job.job, 2, "pool.default", "c000", "plain")
    store.create(keys.update(name.job, name.round, name.source, name.client, name.attempt), tmp_path / "update")
    with pytest.raises(UpdateRejected, match="'scale:w' is missing"):
        numbers.examine(name, job.spec, numbers.base(job.job, 1), None)


def test_a_packed_update_of_absurd_size_is_not_read(store: FolderStore, tmp_path: Path) -> None:
    job = CommittedJob(store, tmp_path, rounds=1, compress={"to": "int8"})
    numbers = Averaging(store, tmp_path / "aggregator")
    name = UpdateName(job.job, 2, "pool.default", "c000", "huge")
    store.create(keys.update(name.job, name.round, name.source, name.client, name.attempt), bytes(3 << 20))
    with pytest.raises(UpdateRejected, match="over the limit"):
        numbers.examine(name, job.spec, numbers.base(job.job, 1), None)


def test_a_packed_update_that_changed_after_it_was_frozen_is_found_by_verifying(
    store: FolderStore, tmp_path: Path
) -> None:
    job = CommittedJob(store, tmp_path, rounds=1, compress={"to": "int8"})
    key = keys.update(job.job, 1, "pool.default", "c001", "good")
    body = store.read(key)
    store.delete(key)
    store.create(key, body[:-1] + bytes([body[-1] ^ 1]))
    with Verifying(store, job.spec, tmp_path / "spool") as verifying:
        verdicts = list(verifying.run())
    assert [verdict.state for verdict in verdicts] == ["same", "damaged"]
    assert "is not the update that was frozen" in verdicts[1].reason


def test_equal_clients_average_to_what_each_of_them_sent(store: FolderStore, tmp_path: Path) -> None:
    job = CommittedJob(store, tmp_path, rounds=1, compress={"to": "bf16"})
    numbers = Averaging(store, tmp_path / "aggregator")
    base, sent = numbers.base(job.job, 1), torch.randn(64)
    names = [put(job, tmp_path, client, "same", sent) for client in CLIENTS]
    entries = tuple(numbers.examine(name, job.spec, base, None) for name in names)
    numbers.write(job.spec, job.freeze(2).model_copy(update={"entries": entries, "base": base}))
    path = store.local_path(keys.checkpoint(job.job, 2))
    assert path is not None
    torch.testing.assert_close(map_file(path)["w"], sent.bfloat16().float(), rtol=1e-6, atol=0)
