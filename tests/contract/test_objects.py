"""What every object store promises: one suite for the folder and for S3."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import pytest

from warren.storage.errors import ObjectDamaged, ObjectMissing
from warren.storage.objects import ObjectStore

T = TypeVar("T")
MIB = 1 << 20


def together(count: int, act: Callable[[int], T]) -> list[T]:
    """The results of `act(0..count-1)`, all started at one moment, each in a thread of its own."""
    start = threading.Barrier(count)

    def run(number: int) -> T:
        start.wait(10)
        return act(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_what_was_created_is_read_back(store: ObjectStore) -> None:
    assert store.create("jobs/a/job.json", b"hello", content_type="application/json", metadata={"x": "1 2"})
    assert store.read("jobs/a/job.json") == b"hello"


def test_of_two_creators_one_wins_and_the_other_reads_the_winner(store: ObjectStore) -> None:
    assert store.create("jobs/a/rounds/00001.json", b"first")
    assert not store.create("jobs/a/rounds/00001.json", b"second, and longer")
    assert store.read("jobs/a/rounds/00001.json") == b"first"


def test_a_creator_that_comes_second_with_the_same_bytes_is_told_so(store: ObjectStore) -> None:
    assert store.create("jobs/a", b"same")
    assert not store.create("jobs/a", b"same")


@pytest.mark.parametrize("size", [10, 3 * MIB])
def test_of_eight_creators_at_once_one_wins_and_all_read_the_winner(store: ObjectStore, size: int) -> None:
    bodies = [bytes([number]) * (size + number) for number in range(8)]

    def create_and_read(number: int) -> tuple[bool, bytes]:
        return store.create("jobs/a/job.json", bodies[number]), store.read("jobs/a/job.json")

    results = together(8, create_and_read)
    winners = [number for number, (won, _) in enumerate(results) if won]
    assert len(winners) == 1
    assert all(seen == bodies[winners[0]] for _, seen in results)


def test_a_file_is_created_as_bytes_are(store: ObjectStore, tmp_path: Path) -> None:
    body = os.urandom(3 * MIB + 17)
    (tmp_path / "body").write_bytes(body)
    assert store.create("updates/a", tmp_path / "body")
    assert store.read("updates/a") == body


def test_a_created_object_does_not_follow_the_file_it_came_from(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"one")
    store.create("updates/a", tmp_path / "body")
    with (tmp_path / "body").open("r+b") as file:
        file.write(b"two")
    assert store.read("updates/a") == b"one"


def test_a_body_file_that_is_not_there_makes_nothing(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.create("updates/a", tmp_path / "nowhere")
    assert store.stat("updates/a") is None


def test_a_reader_never_sees_half_an_object(store: ObjectStore) -> None:
    body = os.urandom(8 * MIB)
    seen: list[int] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            with contextlib.suppress(ObjectMissing):
                seen.append(len(store.read("updates/a")))

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(look) for _ in range(2)]
        store.create("updates/a", body)
        done.set()
        for reader in readers:
            reader.result()
    assert set(seen) <= {len(body)}
    assert store.read("updates/a") == body


def test_an_empty_object_is_an_object(store: ObjectStore, tmp_path: Path) -> None:
    assert store.create("jobs/a/empty", b"")
    assert not store.create("jobs/a/empty", b"more")
    assert store.read("jobs/a/empty") == b""
    assert store.read_range("jobs/a/empty", 0, 10) == b""
    assert store.fetch("jobs/a/empty", tmp_path / "empty", limit=0) == 0
    assert (tmp_path / "empty").read_bytes() == b""
    assert [found.size for found in store.list("jobs/")] == [0]


def test_replace_with_the_tag_that_is_there_writes(store: ObjectStore) -> None:
    store.create("jobs/a/metrics.csv", b"one")
    found = store.stat("jobs/a/metrics.csv")
    assert found is not None
    assert store.replace("jobs/a/metrics.csv", b"two and more", tag=found.tag)
    assert store.read("jobs/a/metrics.csv") == b"two and more"


def test_replace_with_a_stale_tag_loses(store: ObjectStore) -> None:
    store.create("jobs/a/metrics.csv", b"one")
    first = store.stat("jobs/a/metrics.csv")
    assert first is not None
    assert store.replace("jobs/a/metrics.csv", b"two", tag=first.tag)
    assert not store.replace("jobs/a/metrics.csv", b"six", tag=first.tag)
    assert store.read("jobs/a/metrics.csv") == b"two"


def test_replace_without_a_tag_only_makes_what_is_missing(store: ObjectStore) -> None:
    assert store.replace("jobs/a/curves.png", b"one", tag=None)
    assert not store.replace("jobs/a/curves.png", b"two", tag=None)
    assert store.read("jobs/a/curves.png") == b"one"


def test_replace_of_what_was_deleted_loses(store: ObjectStore) -> None:
    store.create("jobs/a/curves.png", b"one")
    found = store.stat("jobs/a/curves.png")
    assert found is not None
    store.delete("jobs/a/curves.png")
    assert not store.replace("jobs/a/curves.png", b"two", tag=found.tag)
    assert store.stat("jobs/a/curves.png") is None


def test_of_eight_replacers_with_one_tag_one_wins(store: ObjectStore) -> None:
    store.create("jobs/a/best", b"old")
    found = store.stat("jobs/a/best")
    assert found is not None
    tag = found.tag
    won = together(8, lambda number: store.replace("jobs/a/best", b"new %d" % number, tag=tag))
    assert won.count(True) == 1
    assert store.read("jobs/a/best") == b"new %d" % won.index(True)


def test_a_tag_never_comes_twice_while_the_bytes_change(store: ObjectStore) -> None:
    store.create("jobs/a/best", b"0")
    tags = []
    for number in range(20):
        found = store.stat("jobs/a/best")
        assert found is not None
        tags.append(found.tag)
        assert store.replace("jobs/a/best", b"%d" % (number % 10 + 1), tag=found.tag)
    assert all(one != other for one, other in pairwise(tags))


def test_what_is_missing_is_said_to_be_missing(store: ObjectStore, tmp_path: Path) -> None:
    assert store.stat("jobs/none") is None
    with pytest.raises(ObjectMissing):
        store.read("jobs/none")
    with pytest.raises(ObjectMissing):
        store.read_range("jobs/none", 0, 10)
    with pytest.raises(ObjectMissing):
        store.read_range("jobs/none", 0, 0)
    with pytest.raises(ObjectMissing):
        store.fetch("jobs/none", tmp_path / "none", limit=10)


def test_a_folder_of_objects_is_no_object(store: ObjectStore) -> None:
    store.create("jobs/a/job.json", b"{}")
    assert store.stat("jobs/a") is None
    with pytest.raises(ObjectMissing):
        store.read("jobs/a")


def test_stat_gives_size_and_the_tag_of_the_listing(store: ObjectStore) -> None:
    store.create("jobs/a/job.json", b"12345")
    found = store.stat("jobs/a/job.json")
    assert found is not None
    assert found.size == 5
    assert list(store.list("jobs/")) == [found]


def test_a_ranged_read_gives_the_bytes_asked_for_and_fewer_at_the_end(store: ObjectStore) -> None:
    store.create("updates/a", b"0123456789")
    assert store.read_range("updates/a", 2, 3) == b"234"
    assert store.read_range("updates/a", 0, 10) == b"0123456789"
    assert store.read_range("updates/a", 8, 100) == b"89"
    assert store.read_range("updates/a", 10, 1) == b""
    assert store.read_range("updates/a", 100, 5) == b""
    assert store.read_range("updates/a", 3, 0) == b""


def test_an_object_over_the_limit_is_refused_unread(store: ObjectStore, tmp_path: Path) -> None:
    store.create("updates/a", b"x" * 1001)
    with pytest.raises(ObjectDamaged, match="1001 bytes are over the limit of 1000"):
        store.read("updates/a", limit=1000)
    with pytest.raises(ObjectDamaged, match="1001 bytes are over the limit of 1000"):
        store.fetch("updates/a", tmp_path / "a", limit=1000)
    assert store.read("updates/a", limit=1001) == b"x" * 1001


def test_fetch_writes_a_new_file(store: ObjectStore, tmp_path: Path) -> None:
    body = os.urandom(2 * MIB + 3)
    store.create("updates/a", body)
    assert store.fetch("updates/a", tmp_path / "a", limit=4 * MIB) == len(body)
    assert (tmp_path / "a").read_bytes() == body


def test_fetch_into_a_larger_old_file_truncates_it(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"y" * MIB)
    inode = (tmp_path / "a").stat().st_ino
    store.create("updates/a", b"short")
    assert store.fetch("updates/a", tmp_path / "a", limit=100) == 5
    assert (tmp_path / "a").read_bytes() == b"short"
    assert (tmp_path / "a").stat().st_ino == inode


def test_a_local_path_holds_the_object_or_there_is_none(store: ObjectStore) -> None:
    store.create("updates/a", b"bytes")
    path = store.local_path("updates/a")
    assert path is None or path.read_bytes() == b"bytes"


def test_delete_removes_and_may_be_repeated(store: ObjectStore) -> None:
    store.create("jobs/a/x", b"1")
    store.delete("jobs/a/x")
    store.delete("jobs/a/x")
    store.delete("jobs/never/was")
    assert store.stat("jobs/a/x") is None
    assert store.create("jobs/a/x", b"2")


def test_many_are_deleted_at_once_and_nothing_else(store: ObjectStore) -> None:
    keys = [f"updates/a/00001/pool.p/c{number:04}.x" for number in range(1003)] + ["updates/a/b&<c> d"]
    for key in keys[-7:]:
        store.create(key, b"1")
    store.create("updates/a/kept", b"2")
    for _ in range(2):
        store.delete_all(keys)
        assert [info.key for info in store.list("updates/")] == ["updates/a/kept"]
    store.delete_all([])


def test_threads_share_a_store(store: ObjectStore) -> None:
    def round_trip(number: int) -> bool:
        body = os.urandom(100_000 + number)
        return store.create(f"updates/{number}", body) and store.read(f"updates/{number}") == body

    assert all(together(12, round_trip))
