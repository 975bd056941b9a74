"""A memory limit and no room in the spool, over a real object store: updates are read in ranges, no byte changes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from made.limited import LIMITS, job_on
from servers.s3_server import S3Bucket

from warren.storage.folder import FolderStore
from warren.storage.s3 import S3Address, S3Store

pytestmark = pytest.mark.services


class Counted(S3Store):
    """Counts the ranges that are read of each object."""

    def __init__(self, address: S3Address) -> None:
        super().__init__(address)
        self.ranges: Counter[str] = Counter()

    def read_range(self, key: str, start: int, length: int) -> bytes:
        self.ranges[key] += 1
        return super().read_range(key, start, length)


@pytest.mark.parametrize("reducer", [None, {"name": "median"}])
def test_updates_that_no_memory_holds_fold_to_the_same_bytes(
    s3: S3Bucket, tmp_path: Path, reducer: dict[str, Any] | None
) -> None:
    plain = job_on(FolderStore(tmp_path / "plain"), tmp_path / "scratch", reducer)
    store = Counted(S3Address(s3.url, s3.access_key, s3.secret_key, s3.bucket))
    try:
        assert job_on(store, tmp_path / "scratch", reducer, **LIMITS) == plain
    finally:
        store.close()
    assert len(store.ranges) == 7  # every update: of the first round one, of two rounds three
    assert min(store.ranges.values()) > 4
