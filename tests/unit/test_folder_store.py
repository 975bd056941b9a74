"""What only the folder store has: files on a disk, their leftovers, and a disk that says no."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from warren.storage.errors import KeyRefused, ObjectMissing, StorageRefused, StorageUnavailable
from warren.storage.files import replacing
from warren.storage.folder import FolderStore

CREATE = """
import sys
from pathlib import Path
from warren.storage.folder import FolderStore
from warren.storage.files import replacing
store = FolderStore(Path(sys.argv[1]))
sys.stdin.readline()
print(store.create("jobs/a", sys.argv[2].encode() * 1_000_000))
"""


def refuse(number: int) -> Callable[..., None]:
    def act(*args: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    return act


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "full"), (errno.EIO, "input/output"), (errno.EROFS, "read-only"), (errno.EDQUOT, "quota")],
)
def test_a_disk_that_says_no_is_unavailable_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    store = FolderStore(tmp_path)
    monkeypatch.setattr(os, "link", refuse(number))
    with pytest.raises(StorageUnavailable, match=words):
        store.create("jobs/a", b"1")
    assert store.stat("jobs/a") is None
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_a_disk_without_the_right_to_write_is_for_a_person_to_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderStore(tmp_path)
    monkeypatch.setattr(os, "link", refuse(errno.EACCES))
    with pytest.raises(StorageRefused, match="mend its owner or rights"):
        store.create("jobs/a", b"1")


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageRefused, match="file"):
        FolderStore(tmp_path / "file")


def test_leftovers_are_removed_after_a_day_and_not_before(tmp_path: Path) -> None:
    FolderStore(tmp_path)
    old, young = tmp_path / ".tmp" / "old", tmp_path / ".tmp" / "young"
    for path, days in ((old, 1.1), (young, 0.9)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - days * 86_400,) * 2)
    store = FolderStore(tmp_path)
    assert not old.exists()
    assert young.exists()
    assert list(store.list("")) == []


def test_a_mapped_object_outlives_its_deletion(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.create("updates/a", b"x" * 10_000)
    path = store.local_path("updates/a")
    assert path is not None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        store.delete("updates/a")
        assert mapped[:] == b"x" * 10_000


def test_the_local_path_of_nothing_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ObjectMissing):
        FolderStore(tmp_path).local_path("jobs/none")


def test_a_key_below_an_object_and_one_that_is_a_folder_are_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.create("jobs/a/b", b"1")
    with pytest.raises(KeyRefused):
        store.create("jobs/a/b/c", b"1")
    with pytest.raises(KeyRefused):
        store.create("jobs/a", b"1")


def test_an_object_that_is_forced_to_the_disk_reads_the_same(tmp_path: Path) -> None:
    store = FolderStore(tmp_path, fsync=True)
    assert store.create("jobs/a", b"1")
    found = store.stat("jobs/a")
    assert found is not None
    assert store.replace("jobs/a", b"2", tag=found.tag)
    assert store.read("jobs/a") == b"2"


def test_of_several_processes_one_creates_and_all_read_the_same(tmp_path: Path) -> None:
    FolderStore(tmp_path)
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE, str(tmp_path), letter],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for letter in "abc"
    ]
    said = [maker.communicate("go\n", timeout=60)[0].strip() for maker in makers]
    assert sorted(said) == ["False", "False", "True"]
    letter = b"abc"[said.index("True")]
    assert FolderStore(tmp_path).read("jobs/a") == bytes([letter]) * 1_000_000


def test_a_folder_may_vanish_while_objects_are_made_in_it(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)

    def make_and_remove(number: int) -> bool:
        key = f"jobs/a/b/{number}"
        made = store.create(key, b"1")
        store.delete(key)
        return made

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(make_and_remove, range(400)))
    assert list(store.folders("")) == []


def test_a_file_that_is_given_becomes_the_object_without_a_copy(tmp_path: Path) -> None:
    store, given = FolderStore(tmp_path / "store"), tmp_path / "out"
    given.write_bytes(b"first")
    given.chmod(0o600)
    assert store.create("a/b", given, given=True)
    found = store.local_path("a/b")
    assert found is not None
    assert found.stat().st_ino == given.stat().st_ino
    assert found.stat().st_mode & 0o777 == (tmp_path / "store" / ".tmp").stat().st_mode & 0o666


def test_the_next_file_of_the_same_name_leaves_the_object_as_it_was(tmp_path: Path) -> None:
    store, given = FolderStore(tmp_path / "store"), tmp_path / "out"
    with replacing(given) as file:
        file.write(b"first")
    store.create("a/b", given, given=True)
    with replacing(given) as file:
        file.write(b"second")
    assert not store.create("a/b", given, given=True)
    assert store.create("a/c", given, given=True)
    assert (store.read("a/b"), store.read("a/c")) == (b"first", b"second")
