"""Files on their way to a store: whole under their name or gone; written over only where nobody else has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from warren.storage.errors import StorageUnavailable
from warren.storage.files import rewriting


def write(path: Path, content: bytes) -> None:
    with rewriting(path) as file:
        file.write(content)


def test_a_shorter_file_over_a_longer_one_is_whole_and_has_its_pages(tmp_path: Path) -> None:
    path = tmp_path / "update"
    write(path, b"a longer one" * 1000)
    before = path.stat().st_ino
    write(path, b"short")
    assert path.read_bytes() == b"short"
    assert path.stat().st_ino == before
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_a_store_keeps_under_another_name_is_not_touched(tmp_path: Path) -> None:
    path, kept = tmp_path / "update", tmp_path / "object"
    write(path, b"what the store keeps")
    os.link(path, kept)
    write(path, b"the next")
    assert (path.read_bytes(), kept.read_bytes()) == (b"the next", b"what the store keeps")


def test_of_half_a_file_nothing_stays(tmp_path: Path) -> None:
    path = tmp_path / "update"
    write(path, b"the one before")
    with pytest.raises(TypeError, match="bytes-like"), rewriting(path) as file:
        file.writelines([b"half", "no bytes"])  # type: ignore[list-item]
    assert not path.exists()


def test_a_place_that_can_t_be_written_to_is_told_in_our_words(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="No such file or directory"):
        write(tmp_path / "nowhere" / "update", b"")
