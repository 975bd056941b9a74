"""Headers that were read before: the same answers as the first time, for the good and for the bad."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from warren.storage.errors import ObjectDamaged
from warren.storage.tensors import METADATA_MAX, read_header, read_small

TENSORS = {
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "I64", "shape": [1], "data_offsets": [24, 32]},
}


def written(path: Path, metadata: Any, tensors: dict[str, Any] | None = None, data: int = 32, tail: str = "") -> Path:
    fields = json.dumps({"__metadata__": metadata, **(TENSORS if tensors is None else tensors)}, separators=(",", ":"))
    text = fields.encode() + tail.encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(data))
    return path


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    """A file of this form was read."""
    path = written(tmp_path / "first", {"client": "c0"})
    read_header(path)
    return path


def test_files_of_one_form_share_their_tensors_and_keep_their_own_metadata(seen: Path, tmp_path: Path) -> None:
    first = read_header(seen)
    second = read_header(written(tmp_path / "second", {"client": "a much longer name", "examples": "7"}))
    assert second.tensors is first.tensors
    assert (first.form, first.metadata) == (second.form, {"client": "c0"})
    assert second.metadata == {"client": "a much longer name", "examples": "7"}
    assert second.data_start != first.data_start
    assert second.size - second.data_start == 32


@pytest.mark.parametrize("data", [0, 31, 33])
def test_a_known_form_on_a_file_of_another_size_is_damaged(seen: Path, tmp_path: Path, data: int) -> None:
    with pytest.raises(ObjectDamaged, match=r"truncated|bytes after the last tensor"):
        read_header(written(tmp_path / "cut", {"client": "c0"}, data=data))


@pytest.mark.parametrize(
    "metadata",
    [
        {"client": 1},
        {"client": {"a": "b"}},
        ["client"],
        {f"k{number}": "" for number in range(METADATA_MAX + 1)},
        {"client": "\ud800"},
        {"k" * 2000: ""},
    ],
)
def test_bad_metadata_before_a_known_form_are_damaged(seen: Path, tmp_path: Path, metadata: Any) -> None:
    with pytest.raises(ObjectDamaged, match="metadata"):
        read_header(written(tmp_path / "bad", metadata))


def test_a_key_twice_in_the_metadata_before_a_known_form_is_damaged(seen: Path, tmp_path: Path) -> None:
    text = seen.read_bytes()[8:-32].replace(b'"client":"c0"', b'"client":"c0","client":"c1"')
    path = tmp_path / "twice"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(32))
    with pytest.raises(ObjectDamaged, match="stands there twice"):
        read_header(path)


def test_a_form_that_was_refused_is_refused_again(tmp_path: Path) -> None:
    gap = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}
    for name in ("one", "two"):
        with pytest.raises(ObjectDamaged, match="gap"):
            read_header(written(tmp_path / name, {"client": name}, gap, data=8))


def test_metadata_that_hold_a_form_do_not_pass_for_it(seen: Path, tmp_path: Path) -> None:
    """What looks like the end of the metadata stands in a text of theirs."""
    form = read_header(seen).form
    sly = {"client": '"}' + form}
    assert read_header(written(tmp_path / "sly", sly)).metadata == sly
    with pytest.raises(ObjectDamaged):
        read_header(written(tmp_path / "torn", {"client": "c0"}, tail=form))


@pytest.mark.parametrize("limit", [10, 10_000])
def test_a_small_file_is_read_at_once_and_a_larger_one_by_its_header(seen: Path, limit: int) -> None:
    header, data = read_small(seen, limit)
    assert header == read_header(seen)
    assert data == (seen.read_bytes() if limit > 1000 else None)


@pytest.mark.parametrize("keep", [0, 7, 8, 20, -1])
def test_a_small_file_that_is_cut_is_damaged(seen: Path, tmp_path: Path, keep: int) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(seen.read_bytes()[:keep])
    with pytest.raises(ObjectDamaged):
        read_small(cut, 10_000)
