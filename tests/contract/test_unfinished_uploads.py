"""Uploads that broke off, in a real bucket: those that the store lists are aborted once they are old enough."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from servers.s3_server import S3Bucket

from warren.cli.connect import View
from warren.cli.room import collect
from warren.storage.s3 import S3Address, S3Store
from warren.storage.s3_requests import Requests
from warren.storage.uploads import Upload, abandoned

KEY = "updates/lung-aaa111/00003/pool.default/c000.a1.safetensors"


@pytest.fixture
def store(s3: S3Bucket) -> Iterator[S3Store]:
    with contextlib.closing(S3Store(S3Address(s3.url, s3.access_key, s3.secret_key, s3.bucket))) as made:
        yield made


def begin(s3: S3Bucket, key: str) -> None:
    """Begin an upload, as a writer that dies right after."""
    requests = Requests(S3Address(s3.url, s3.access_key, s3.secret_key, s3.bucket))
    requests.ask("POST", key, query="uploads=")
    requests.close()


def test_an_upload_that_broke_off_is_listed_and_can_be_aborted(s3: S3Bucket, store: S3Store) -> None:
    assert list(store.uploads()) == []
    begin(s3, KEY)
    (upload,) = store.uploads()
    assert upload.key == KEY
    assert 0 <= upload.age_seconds < 60
    store.abort(upload)
    assert list(store.uploads()) == []
    store.abort(upload)  # it is gone, and that is no error


def test_a_young_upload_is_left_to_its_writer(s3: S3Bucket, store: S3Store) -> None:
    begin(s3, KEY)
    assert list(abandoned(store)) == []
    assert [upload.key for upload in abandoned(store, seconds=0.0)] == [KEY]


def test_gc_aborts_what_is_a_day_old_and_a_dry_run_only_names_it(
    s3: S3Bucket, store: S3Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(s3, KEY)
    begin(s3, KEY + "2")
    listed = S3Store.uploads

    def aged(self: S3Store) -> Iterator[Upload]:
        return (Upload(one.key, one.id, 90_000.0 if one.key == KEY else 10.0) for one in listed(self))

    monkeypatch.setattr(S3Store, "uploads", aged)
    collect(View(store, place="here"), (), dry_run=True, as_json=False)
    assert f"upload of {KEY}, begun 25 hours ago, would be aborted" in capsys.readouterr().out
    assert len(list(store.uploads())) == 2
    collect(View(store, place="here"), (), dry_run=False, as_json=False)
    assert [one.key for one in store.uploads()] == [KEY + "2"]
