"""Labels on objects of a real store, as S3's own client reads them; and stores that keep none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from minio import Minio
from servers.s3_server import S3Bucket

from warren.storage.errors import KeyRefused, ObjectMissing
from warren.storage.labels import KeepsLabels
from warren.storage.objects import ObjectStore
from warren.storage.s3 import S3Address, S3Store

KEY = "jobs/lung-aaa111/checkpoints/round-00003.safetensors"


@pytest.fixture
def bucket(s3: S3Bucket) -> Iterator[S3Store]:
    with contextlib.closing(S3Store(S3Address(s3.url, s3.access_key, s3.secret_key, s3.bucket))) as made:
        yield made


def shown(s3: S3Bucket) -> dict[str, str]:
    host = s3.url.partition("://")[2]
    client = Minio(host, access_key=s3.access_key, secret_key=s3.secret_key, secure=False)
    return dict(client.get_object_tags(bucket_name=s3.bucket, object_name=KEY) or {})


def test_labels_replace_each_other_and_leave_the_object_as_it_was(s3: S3Bucket, bucket: S3Store) -> None:
    bucket.create(KEY, b"a model")
    before = bucket.stat(KEY)
    bucket.label(KEY, {"round": "3", "state": "committed"})
    assert shown(s3) == {"round": "3", "state": "committed"}
    bucket.label(KEY, {"state": "evaluated", "accuracy": "0.97", "odd": "a b+c-d=e.f_g:h/i@j"})
    assert shown(s3) == {"state": "evaluated", "accuracy": "0.97", "odd": "a b+c-d=e.f_g:h/i@j"}
    assert bucket.stat(KEY) == before
    assert bucket.read(KEY) == b"a model"


def test_what_is_not_there_is_not_made_by_labelling_it(bucket: S3Store) -> None:
    with pytest.raises(ObjectMissing):
        bucket.label(KEY, {"round": "3"})
    assert bucket.stat(KEY) is None


@pytest.mark.parametrize(
    "labels", [{"name": "<Tag>"}, {"a\nb": "1"}, {"": "1"}, {"x": "y" * 257}, {str(n): "1" for n in range(11)}]
)
def test_labels_that_s3_would_refuse_are_not_sent(labels: dict[str, str], bucket: S3Store) -> None:
    bucket.create(KEY, b"a model")
    with pytest.raises(KeyRefused):
        bucket.label(KEY, labels)


def test_only_s3_keeps_labels(store: ObjectStore) -> None:
    assert isinstance(store, KeepsLabels) == isinstance(store, S3Store)
