"""The object stores that must keep the same promises."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from warren.storage.folder import FolderStore
from warren.storage.objects import ObjectStore
from warren.storage.s3 import S3Address, S3Store


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    opened: ObjectStore
    if request.param == "folder":
        opened = FolderStore(tmp_path / "store")
    else:
        place = request.getfixturevalue("s3")
        opened = S3Store(S3Address(place.url, place.access_key, place.secret_key, place.bucket))
    with contextlib.closing(opened):
        yield opened
