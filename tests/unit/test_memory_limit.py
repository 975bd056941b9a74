"""An aggregator with a memory limit or a full spool: updates are read in parts, and no byte changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from made.limited import LIMITS, job_on

from warren.aggregator import averaging, combining, ranges
from warren.aggregator.pieces import FileSource, Piece, read_piece
from warren.aggregator.remote import CHUNK_BYTES_MIN, RemoteSource
from warren.storage.digests import digest_file
from warren.storage.documents import Entry
from warren.storage.errors import ObjectDamaged, ObjectMissing
from warren.storage.folder import FolderStore
from warren.storage.tensors import read_header
from warren.storage.torch_tensors import save

SAID = {"trainable": '["a"]', "tied": "{}"}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges of 256 items and blocks that fit into them."""
    for module in (ranges, combining):
        monkeypatch.setattr(module, "BLOCK_ITEMS_MAX", 256)


# An aggregator with a memory limit, on a store that is not a folder


class Remote(FolderStore):
    """A folder that gives no paths, and counts what is read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.fetched: list[str] = []
        self.ranged: list[tuple[str, int, int]] = []

    def local_path(self, key: str) -> Path | None:
        return None

    def fetch(self, key: str, path: Path, *, limit: int) -> int:
        self.fetched.append(key)
        return super().fetch(key, path, limit=limit)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        self.ranged.append((key, start, length))
        return super().read_range(key, start, length)


@pytest.mark.parametrize("reducer", [None, {"name": "median"}, {"name": "geometric-median"}])
@pytest.mark.parametrize("limits", [{}, LIMITS, {"memory_limit": 500_000}, {"spool_bytes_max": 0}])
def test_a_memory_limit_and_a_full_spool_change_no_byte(
    tmp_path: Path, small: None, reducer: dict[str, Any] | None, limits: dict[str, int]
) -> None:
    plain = job_on(FolderStore(tmp_path / "plain"), tmp_path / "scratch", reducer)
    remote = Remote(tmp_path / "remote")
    assert job_on(remote, tmp_path / "scratch", reducer, **limits) == plain
    by_parts = {key for key, _, _ in remote.ranged}
    needs = limits == LIMITS or (reducer is not None and "spool_bytes_max" in limits)
    assert bool(by_parts) == needs
    assert all(length <= averaging.READ_BYTES for _, _, length in remote.ranged)


def test_a_strategy_that_looks_at_the_whole_model_is_folded_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain = job_on(FolderStore(tmp_path / "plain"), tmp_path / "scratch")
    monkeypatch.setattr(averaging, "elementwise", lambda spec: False)
    remote = Remote(tmp_path / "remote")
    assert job_on(remote, tmp_path / "scratch", **LIMITS) == plain
    assert "fedadam sees the model whole" in caplog.text


# An update that stays in the store


def remote_update(store: FolderStore, folder: Path, items: int = 100_000) -> Entry:
    written = save(folder / "update", {"a": torch.arange(items, dtype=torch.float32), "b": torch.zeros(3)}, SAID)
    store.create("updates/j/u", folder / "update")
    fields = {"client": "c", "source": "pool.p", "attempt": "a", "examples": 1}
    return Entry(**fields, digest=written.digest, size=written.size)  # type: ignore[arg-type]


def test_an_update_in_the_store_reads_as_its_file_does(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    entry = remote_update(store, tmp_path)
    source = RemoteSource(store, "updates/j/u", entry.size, entry.digest, CHUNK_BYTES_MIN)
    file = FileSource(tmp_path / "update")
    assert source.header == file.header
    for start, length in ((0, 1), (CHUNK_BYTES_MIN - 9, 40), (5, 300_000), (400_000, 12), (7, 0)):
        assert source.data(start, length) == file.data(start, length)


def test_an_update_in_the_store_that_is_not_the_frozen_one_is_named(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    entry = remote_update(store, tmp_path)
    with pytest.raises(ObjectDamaged, match="updates/j/u is not the update that was frozen"):
        RemoteSource(store, "updates/j/u", entry.size, "0" * 64)
    with pytest.raises(ObjectMissing):
        RemoteSource(store, "updates/j/v", entry.size, entry.digest)


def test_an_update_that_is_replaced_between_two_reads_is_found_out(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    entry = remote_update(store, tmp_path)
    source = RemoteSource(store, "updates/j/u", entry.size, entry.digest, CHUNK_BYTES_MIN)
    content = bytearray((tmp_path / "store" / "updates/j/u").read_bytes())
    content[-100] ^= 1
    (tmp_path / "store" / "updates/j/u").write_bytes(content)
    source.data(0, 8)  # another chunk, kept or unchanged
    with pytest.raises(ObjectDamaged, match="was replaced after it was frozen"):
        source.data(source.header.tensors["a"].end - 400, 400)


def test_pieces_of_files_are_read_where_they_lie(tmp_path: Path) -> None:
    written = save(tmp_path / "file", {"w": torch.arange(1000, dtype=torch.float32)}, SAID)
    assert digest_file(tmp_path / "file") == written.digest
    assert read_piece(FileSource(tmp_path / "file"), Piece("w", 3, 7)).tolist() == [3, 4, 5, 6]
    (tmp_path / "file").unlink()
    source = FileSource(tmp_path / "file", read_header(_other(tmp_path)))
    with pytest.raises(ObjectMissing):
        read_piece(source, Piece("w", 0, 1))


def _other(folder: Path) -> Path:
    save(folder / "other", {"w": torch.zeros(2)}, SAID)
    return folder / "other"
