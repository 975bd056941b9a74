"""Whatever bytes a peer sends as a file: a header that holds what it says, or ObjectDamaged."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from warren.storage.errors import ObjectDamaged
from warren.storage.tensors import DTYPES, read_header
from warren.storage.torch_tensors import map_file, save

ONE_FOLDER = [HealthCheck.function_scoped_fixture]  # each example overwrites the same file


def check(path: Path, content: bytes) -> None:
    """A header that is taken describes every byte of the file, once."""
    path.write_bytes(content)
    try:
        header = read_header(path)
    except ObjectDamaged:
        return
    assert header.size == len(content)
    assert header.data_start + sum(t.end - t.start for t in header.tensors.values()) == len(content)
    for name, tensor in map_file(path, header).items():
        assert tensor.numel() * DTYPES[header.tensors[name].dtype] <= len(content)


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("valid") / "x"
    tensors = {
        "fc.weight": torch.ones(2, 3),
        "fc.bias": torch.ones(2),
        "n": torch.tensor(3),
        "e": torch.ones(0),
    }
    save(path, tensors, {"job": "digits", "examples": "12"})
    return path.read_bytes()


@settings(suppress_health_check=ONE_FOLDER, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_damaged(tmp_path: Path, content: bytes) -> None:
    check(tmp_path / "x", content)


@settings(suppress_health_check=ONE_FOLDER, deadline=None)
@given(text=st.binary(max_size=200), data=st.binary(max_size=40))
def test_any_header_is_read_or_damaged(tmp_path: Path, text: bytes, data: bytes) -> None:
    check(tmp_path / "x", struct.pack("<Q", len(text)) + text + data)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NEARLY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(sorted(DTYPES)) | ANYTHING,
        "shape": st.lists(st.integers(0, 4), max_size=3) | ANYTHING,
        "data_offsets": st.lists(st.integers(0, 64), min_size=2, max_size=2) | ANYTHING,
    }
)


@settings(suppress_health_check=ONE_FOLDER, deadline=None)
@given(
    fields=st.dictionaries(st.text(max_size=8) | st.just("__metadata__"), NEARLY | ANYTHING, max_size=4),
    data=st.binary(max_size=64),
)
def test_any_json_is_read_or_damaged(tmp_path: Path, fields: dict[str, Any], data: bytes) -> None:
    text = json.dumps(fields).encode()
    check(tmp_path / "x", struct.pack("<Q", len(text)) + text + data)


@settings(suppress_health_check=ONE_FOLDER, deadline=None)
@given(
    edits=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.integers(0, 9),
)
def test_a_valid_file_with_bytes_changed_is_read_or_damaged(
    tmp_path: Path, valid: bytes, edits: list[tuple[int, int]], cut: int
) -> None:
    content = bytearray(valid)
    for position, value in edits:
        content[position % len(content)] = value
    check(tmp_path / "x", bytes(content[: len(content) - cut]))
