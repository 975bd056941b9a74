"""What every object store promises of its keys: which it takes, and how it lists them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from warren.storage.errors import KeyRefused
from warren.storage.objects import ObjectStore


def keys(store: ObjectStore, prefix: str, after: str = "") -> list[str]:
    return [found.key for found in store.list(prefix, after=after)]


def test_a_listing_is_sorted_by_the_whole_key(store: ObjectStore) -> None:
    expected = ["a-b", "a.b", "a/b", "a/b-c", "a/b.c/d", "a0", "aé", "b/a", "b/z"]
    for key in reversed(expected):
        store.create(f"jobs/{key}", b"1")
    assert keys(store, "jobs/") == sorted(f"jobs/{key}" for key in expected)


def test_a_listing_holds_what_begins_with_the_prefix_and_nothing_else(store: ObjectStore) -> None:
    for key in ("jobs/a/1", "jobs/a/2", "jobs/ab/1", "jobs/b/1", "updates/a/1"):
        store.create(key, b"1")
    assert keys(store, "jobs/a") == ["jobs/a/1", "jobs/a/2", "jobs/ab/1"]
    assert keys(store, "jobs/a/") == ["jobs/a/1", "jobs/a/2"]
    assert keys(store, "jobs/a/1") == ["jobs/a/1"]
    assert keys(store, "jobs/none/") == []
    assert keys(store, "none") == []
    assert len(keys(store, "")) == 5


def test_a_listing_begins_after_the_key_given(store: ObjectStore) -> None:
    for key in ("jobs/a/1", "jobs/a/2/x", "jobs/a/3", "jobs/b/1"):
        store.create(key, b"1")
    assert keys(store, "jobs/", after="jobs/a/1") == ["jobs/a/2/x", "jobs/a/3", "jobs/b/1"]
    assert keys(store, "jobs/", after="jobs/a/2") == ["jobs/a/2/x", "jobs/a/3", "jobs/b/1"]
    assert keys(store, "jobs/", after="jobs/a/2/x") == ["jobs/a/3", "jobs/b/1"]
    assert keys(store, "jobs/", after="jobs/z") == []


def test_a_listing_is_complete_over_many_pages(store: ObjectStore) -> None:
    expected = [f"updates/a/00001/pool.default/c{number:04}.x" for number in range(1205)]
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda key: store.create(key, b""), expected))
    assert keys(store, "updates/a/") == expected
    assert keys(store, "updates/a/", after=expected[1003]) == expected[1004:]


def test_folders_are_the_names_with_more_below_them(store: ObjectStore) -> None:
    for key in ("jobs/b/job.json", "jobs/a/job.json", "jobs/a/task/x.py", "jobs/file", "updates/c/1"):
        store.create(key, b"1")
    assert list(store.folders("jobs/")) == ["a", "b"]
    assert list(store.folders("")) == ["jobs", "updates"]
    assert list(store.folders("jobs/a/")) == ["task"]
    assert list(store.folders("none/")) == []


def test_a_folder_ends_with_its_last_object(store: ObjectStore) -> None:
    store.create("jobs/a/rounds/1", b"1")
    store.create("jobs/b/rounds/1", b"1")
    store.delete("jobs/a/rounds/1")
    assert list(store.folders("jobs/")) == ["b"]


ODD_KEYS = [
    "",
    "/absolute",
    "ends/",
    "a//b",
    "a/../b",
    "..",
    "./a",
    ".tmp/a",
    "a/nul\0",
    "a/line\n",
    "a\\b",
    "a/" + "x" * 256,
    "/".join(["x" * 200] * 6),
    "a/\ud800",
]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_an_odd_key_is_refused_by_every_verb(store: ObjectStore, tmp_path: Path, key: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.create(key, b"1"),
        lambda: store.replace(key, b"1", tag="x"),
        lambda: store.read(key),
        lambda: store.read_range(key, 0, 1),
        lambda: store.fetch(key, tmp_path / "a", limit=1),
        lambda: store.stat(key),
        lambda: store.delete(key),
    ]
    for call in calls:
        with pytest.raises(KeyRefused):
            call()


@pytest.mark.parametrize("prefix", ["../", "a/../b", "/", "a//", "a\0", "."])
def test_an_odd_prefix_is_refused(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(KeyRefused):
        store.list(prefix)
    with pytest.raises(KeyRefused):
        store.folders(prefix)


@pytest.mark.parametrize("metadata", [{"A b": "x"}, {"a": "line\nbreak"}, {"a": "é"}, {"a": ""}, {"a": "x" * 2048}])
def test_metadata_that_headers_could_not_carry_is_refused(store: ObjectStore, metadata: dict[str, str]) -> None:
    with pytest.raises(KeyRefused):
        store.create("jobs/a", b"1", metadata=metadata)
    assert store.stat("jobs/a") is None


@pytest.mark.parametrize("key", ["jobs/a b+c", "jobs/%41", "jobs/ä/ß", "jobs/a?b=c&d", "jobs/a#b", "jobs/~a'(!)*"])
def test_a_key_of_any_plain_text_keeps_its_name(store: ObjectStore, key: str) -> None:
    assert store.create(key, b"1")
    assert store.read(key) == b"1"
    assert keys(store, "jobs/") == [key]
