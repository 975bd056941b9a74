"""A connection cut in the middle: what S3Store makes of it, against a real store behind a cutting proxy."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from servers.cutting import CuttingProxy

from warren.storage.errors import StorageUnavailable
from warren.storage.s3 import S3Address, S3Store
from warren.storage.s3_requests import Requests

if TYPE_CHECKING:
    from servers.s3_server import S3Bucket

MIB = 1 << 20


@pytest.fixture
def proxy(s3: S3Bucket) -> Iterator[CuttingProxy]:
    host, _, port = s3.url.removeprefix("http://").partition(":")
    with contextlib.closing(CuttingProxy((host, int(port)))) as opened:
        yield opened


@pytest.fixture
def direct(s3: S3Bucket) -> S3Store:
    """The same bucket, past the proxy."""
    return S3Store(_address(s3.url, s3))


@pytest.fixture
def store(s3: S3Bucket, proxy: CuttingProxy) -> S3Store:
    """Parts from 6 MiB on, so that a test need not move gigabytes."""
    return S3Store(_address(proxy.url, s3), single_put_bytes_max=6 * MIB, part_bytes=5 * MIB)


def _address(url: str, place: S3Bucket) -> S3Address:
    return S3Address(url, place.access_key, place.secret_key, place.bucket)


def _uploads(place: S3Bucket) -> bytes:
    return Requests(_address(place.url, place)).ask("GET", "", query="uploads=")[1]


def test_a_download_cut_in_its_middle_goes_on_from_there(
    store: S3Store, direct: S3Store, proxy: CuttingProxy, tmp_path: Path
) -> None:
    body = os.urandom(20 * MIB)
    direct.create("updates/a", body)
    proxy.cut_answer_after = 7 * MIB
    assert store.fetch("updates/a", tmp_path / "a", limit=len(body)) == len(body)
    assert (tmp_path / "a").read_bytes() == body
    first, second = proxy.heads("GET")
    assert "range:" not in first.lower()
    start = re.search(r"range: bytes=(\d+)-", second, re.IGNORECASE)
    assert start is not None
    assert 6 * MIB < int(start[1]) <= 7 * MIB


def test_a_read_and_a_ranged_read_cut_in_their_middle_are_whole(
    store: S3Store, direct: S3Store, proxy: CuttingProxy
) -> None:
    body = os.urandom(4 * MIB)
    direct.create("updates/a", body)
    proxy.cut_answer_after = 3 * MIB
    assert store.read("updates/a") == body
    proxy.cut_answer_after = MIB
    assert store.read_range("updates/a", MIB, 2 * MIB) == body[MIB : 3 * MIB]
    assert proxy.cuts == 2


@pytest.mark.parametrize("size", [10, 3 * MIB])
def test_a_create_whose_answer_is_lost_counts_once(store: S3Store, proxy: CuttingProxy, size: int) -> None:
    body = os.urandom(size)
    proxy.lose_answer_to = b"PUT"
    assert store.create("jobs/a/rounds/00001.json", body)
    assert proxy.cuts == 1
    assert len(proxy.heads("PUT")) == 1
    assert not store.create("jobs/a/rounds/00001.json", body)
    assert store.read("jobs/a/rounds/00001.json") == body


@pytest.mark.parametrize("other", [b"another's", b"it's mine"])
def test_a_second_create_whose_answer_is_lost_does_not_count(
    store: S3Store, direct: S3Store, proxy: CuttingProxy, other: bytes
) -> None:
    direct.create("jobs/a", other)
    proxy.lose_answer_to = b"PUT"
    assert not store.create("jobs/a", b"this one!")
    assert proxy.cuts == 1
    assert direct.read("jobs/a") == other


def test_an_upload_cut_in_its_middle_is_sent_again(store: S3Store, proxy: CuttingProxy) -> None:
    body = os.urandom(5 * MIB)
    proxy.cut_body_after = 2 * MIB
    assert store.create("updates/a", body)
    assert proxy.cuts == 1
    assert len(proxy.heads("PUT")) == 2
    assert store.read("updates/a") == body


def test_a_large_upload_that_was_cut_goes_on_in_parts_and_a_part_that_is_cut_alone(
    s3: S3Bucket, proxy: CuttingProxy
) -> None:
    store = S3Store(_address(proxy.url, s3), part_bytes=5 * MIB, whole_again_bytes_max=6 * MIB)
    body = os.urandom(12 * MIB)

    def cut_the_second_part(head: str) -> None:
        if "partNumber=2" in head and proxy.cuts == 1:
            proxy.cut_body_after = 2 * MIB

    proxy.cut_body_after = 8 * MIB
    proxy.on_request = cut_the_second_part
    assert store.create("updates/a", body)
    assert proxy.cuts == 2
    parts = [re.search(r"partNumber=(\d+)", head) for head in proxy.heads("PUT")]
    assert [found[1] if found else "whole" for found in parts] == ["whole", "1", "2", "2", "3"]
    assert store.read("updates/a") == body
    assert not store.create("updates/a", body)
    assert b"<Upload>" not in _uploads(s3)


def test_a_large_upload_whose_answer_is_lost_is_not_sent_again(s3: S3Bucket, proxy: CuttingProxy) -> None:
    store = S3Store(_address(proxy.url, s3), part_bytes=5 * MIB, whole_again_bytes_max=6 * MIB)
    proxy.lose_answer_to = b"PUT"
    assert store.create("updates/a", os.urandom(7 * MIB))
    assert len(proxy.heads("PUT")) == 1


def test_a_replace_whose_answer_is_lost_counts(store: S3Store, proxy: CuttingProxy) -> None:
    store.create("jobs/a/best", b"old")
    found = store.stat("jobs/a/best")
    assert found is not None
    proxy.lose_answer_to = b"PUT"
    assert store.replace("jobs/a/best", b"new", tag=found.tag)
    assert proxy.cuts == 1
    assert store.read("jobs/a/best") == b"new"


def test_a_replace_cut_before_it_was_whole_is_sent_again(store: S3Store, proxy: CuttingProxy) -> None:
    store.create("jobs/a/best", b"old")
    found = store.stat("jobs/a/best")
    assert found is not None
    body = os.urandom(2 * MIB)
    proxy.cut_body_after = MIB
    assert store.replace("jobs/a/best", body, tag=found.tag)
    assert store.read("jobs/a/best") == body


def test_a_listing_cut_in_its_middle_is_complete(store: S3Store, direct: S3Store, proxy: CuttingProxy) -> None:
    expected = [f"updates/a/{number:03}" for number in range(30)]
    for key in expected:
        direct.create(key, b"1")
    proxy.cut_answer_after = 3000
    assert [found.key for found in store.list("updates/")] == expected
    assert proxy.cuts == 1


@pytest.mark.parametrize("lost", [b"HEAD", b"DELETE"])
def test_other_verbs_are_asked_again(store: S3Store, direct: S3Store, proxy: CuttingProxy, lost: bytes) -> None:
    direct.create("jobs/a", b"1")
    proxy.lose_answer_to = lost
    assert store.stat("jobs/a") is not None
    store.delete("jobs/a")
    assert store.stat("jobs/a") is None
    assert proxy.cuts == 1


def test_an_object_in_parts_is_created_once(store: S3Store, s3: S3Bucket, tmp_path: Path) -> None:
    body = os.urandom(12 * MIB + 5)
    (tmp_path / "body").write_bytes(body)
    assert store.create("updates/a", tmp_path / "body", metadata={"round": "1"})
    assert not store.create("updates/a", b"x" * (7 * MIB))
    assert store.read("updates/a") == body
    assert b"<Upload>" not in _uploads(s3)


def test_of_two_creators_in_parts_the_second_to_complete_loses_and_leaves_nothing(
    store: S3Store, direct: S3Store, proxy: CuttingProxy, s3: S3Bucket
) -> None:
    def create_before(head: str) -> None:
        if head.startswith("POST") and "uploads=" not in head:
            assert direct.create("updates/a", b"first")

    proxy.on_request = create_before
    assert not store.create("updates/a", os.urandom(7 * MIB))
    assert store.read("updates/a") == b"first"
    assert b"<Upload>" not in _uploads(s3)


def test_a_part_cut_in_its_middle_is_sent_again_alone(store: S3Store, proxy: CuttingProxy) -> None:
    body = os.urandom(12 * MIB)
    proxy.cut_body_after = 8 * MIB
    assert store.create("updates/a", body)
    parts = [re.search(r"partNumber=(\d+)", head) for head in proxy.heads("PUT")]
    assert [found[1] for found in parts if found] == ["1", "2", "2", "3"]
    assert store.read("updates/a") == body


def test_a_completion_whose_answer_is_lost_counts(store: S3Store, proxy: CuttingProxy, s3: S3Bucket) -> None:
    body = os.urandom(7 * MIB)
    proxy.lose_answer_to = f"POST /{s3.bucket}/updates/a?uploadId".encode()
    assert store.create("updates/a", body)
    assert proxy.cuts == 1
    assert store.read("updates/a") == body


def test_an_object_in_parts_is_replaced_by_its_tag_only(store: S3Store) -> None:
    store.create("jobs/a/best", b"old")
    found = store.stat("jobs/a/best")
    assert found is not None
    body = os.urandom(7 * MIB)
    assert not store.replace("jobs/a/best", body, tag="0" * 32)
    assert store.replace("jobs/a/best", body, tag=found.tag)
    assert store.read("jobs/a/best") == body


def test_a_store_that_went_away_is_unavailable_and_nothing_is_left_hanging(s3: S3Bucket, proxy: CuttingProxy) -> None:
    impatient = S3Store(_address(proxy.url, s3), retry_seconds=0.2)
    impatient.create("jobs/a", b"1")
    proxy.close()
    for call in (lambda: impatient.read("jobs/a"), lambda: impatient.create("jobs/b", b"1")):
        with pytest.raises(StorageUnavailable):
            call()
