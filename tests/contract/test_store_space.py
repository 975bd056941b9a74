"""The room of a real object store: MinIO says it to its administrator, and to nobody else."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from servers.s3_server import S3Bucket

from warren.storage.folder import FolderStore
from warren.storage.s3 import S3Address, S3Store
from warren.storage.space import space_of


def address(s3: S3Bucket, secret: str) -> S3Address:
    return S3Address(s3.url, s3.access_key, secret, s3.bucket)


def test_minio_says_the_room_of_the_disk_it_stands_on(s3: S3Bucket, request: pytest.FixtureRequest) -> None:
    with contextlib.closing(S3Store(address(s3, s3.secret_key))) as store:
        space = space_of(store)
    if "Minio" not in type(request.getfixturevalue("s3_server")).__name__:
        assert space is None  # SeaweedFS, where MinIO can't be had, has no such question
        return
    assert space is not None
    assert 0 < space.free <= space.total


def test_a_store_that_does_not_tell_these_credentials_is_no_error(s3: S3Bucket) -> None:
    with contextlib.closing(S3Store(address(s3, "wrong-secret-wrong"))) as store:
        assert space_of(store) is None


def test_a_store_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    with contextlib.closing(S3Store(S3Address("http://127.0.0.1:9", "access", "secret-secret", "bucket"))) as store:
        assert space_of(store) is None
    assert space_of(FolderStore(tmp_path)) is not None
