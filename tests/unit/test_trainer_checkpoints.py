"""The trainer's cache of checkpoints: one fetch a round, and nothing of an object that is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from warren.broker.messages import RoundJob
from warren.storage.digests import digest_file
from warren.storage.errors import ObjectDamaged
from warren.storage.folder import FolderStore
from warren.trainer.checkpoints import Checkpoints


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def order(store: FolderStore, number: int, body: bytes) -> RoundJob:
    """The job of round `number` + 1, which starts from a checkpoint with these bytes."""
    key = f"jobs/j/checkpoints/round-{number:05}.safetensors"
    store.create(key, body)
    path = store.local_path(key)
    assert path is not None
    return RoundJob(
        job="j", round=number + 1, kind="train", client="c0", source="pool.default",
        base=key, base_digest=digest_file(path), base_bytes=len(body),
    )  # fmt: skip


def test_a_checkpoint_like_an_older_one_is_read_under_its_own_key(store: FolderStore, tmp_path: Path) -> None:
    kept = Checkpoints(store, tmp_path / "kept")
    older, newer = order(store, 3, b"the same weights"), order(store, 5, b"the same weights")
    first = kept.path(older)
    assert first is not None
    first.unlink()  # collected
    path = kept.path(newer)
    assert path is not None
    assert path.read_bytes() == b"the same weights"


def test_other_bytes_than_those_meant_are_refused(store: FolderStore, tmp_path: Path) -> None:
    job = order(store, 1, b"weights").model_copy(update={"base_digest": "0" * 64})
    with pytest.raises(ObjectDamaged, match="not what the round job names"):
        Checkpoints(store, tmp_path / "kept").path(job)
