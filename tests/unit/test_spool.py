"""The spool: files are used again, and never while somebody needs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from warren.aggregator.spool import Spool
from warren.storage.folder import FolderStore


class Remote(FolderStore):
    """A folder whose objects can't be mapped: they are fetched, as from S3."""

    def local_path(self, key: str) -> Path | None:
        return None


@pytest.fixture
def store(tmp_path: Path) -> Remote:
    store = Remote(tmp_path / "store")
    for name, size in (("a", 1000), ("b", 10), ("c", 5000)):
        store.create(f"updates/{name}", name.encode() * size)
    return store


def test_a_fetched_file_holds_its_object_alone_though_a_longer_one_was_there(store: Remote, tmp_path: Path) -> None:
    spool = Spool(store, tmp_path / "spool")
    for name in "acbca":
        path = spool.path(f"updates/{name}", 10_000)
        assert path.read_bytes() == store.read(f"updates/{name}")
        spool.release(f"updates/{name}")
    assert len(list((tmp_path / "spool").iterdir())) == 1


def test_files_that_are_kept_are_never_written_over(store: Remote, tmp_path: Path) -> None:
    spool = Spool(store, tmp_path / "spool")
    first = spool.path("updates/a", 10_000)
    spool.release("updates/a")
    second, third = spool.path("updates/b", 10_000), spool.path("updates/c", 10_000)
    assert len({second, third}) == 2
    assert first != second
    assert second.read_bytes() == b"b" * 10
    assert third.read_bytes() == b"c" * 5000
    assert spool.path("updates/b", 10_000) == second


def test_what_a_round_leaves_serves_the_next_and_what_that_leaves_unused_goes(store: Remote, tmp_path: Path) -> None:
    spool = Spool(store, tmp_path / "spool")
    for name in "abc":
        spool.path(f"updates/{name}", 10_000)
    spool.clear()
    assert spool.path("updates/a", 10_000).read_bytes() == b"a" * 1000
    spool.clear()
    assert len(list((tmp_path / "spool").iterdir())) == 1


def test_what_is_adopted_takes_no_file_that_is_to_be_written_over(store: Remote, tmp_path: Path) -> None:
    spool = Spool(store, tmp_path / "spool")
    spool.path("updates/a", 10_000)
    spool.clear()
    spool.own("out").write_bytes(b"ours")
    spool.adopt("updates/a", spool.own("out"))
    assert spool.path("updates/b", 10_000).read_bytes() == b"b" * 10
    assert spool.path("updates/a", 10_000).read_bytes() == b"ours"


def test_a_file_to_be_written_over_is_one_that_nobody_needs(store: Remote, tmp_path: Path) -> None:
    spool = Spool(store, tmp_path / "spool")
    kept, spent = spool.path("updates/a", 10_000), spool.path("updates/c", 10_000)
    number = spent.stat().st_ino
    spool.release("updates/c")
    out = spool.over("out")
    assert (out.stat().st_ino, kept.read_bytes()) == (number, b"a" * 1000)
    assert not spool.over("more").exists()
    out.write_bytes(b"made")
    store.create("checkpoints/1", b"made")
    spool.adopt("checkpoints/1", out)
    assert spool.path("checkpoints/1", 10).read_bytes() == b"made"
    spool.clear()
    assert spool.over("out").stat().st_ino == number


def test_a_file_that_a_store_of_files_keeps_is_never_written_over(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    spool = Spool(store, tmp_path / "spool")
    out = spool.over("out")
    out.write_bytes(b"made")
    store.create("checkpoints/1", out, given=True)
    spool.adopt("checkpoints/1", out)
    mapped = spool.path("checkpoints/1", 10)
    store.delete("checkpoints/1")
    assert not mapped.exists()
    assert not spool.over("out").exists(), "its pages may be mapped by a trainer that is still at work"
