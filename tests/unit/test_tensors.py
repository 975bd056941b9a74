"""Files of tensors: what is written is read back by anyone, equal contents are equal bytes."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from warren.storage.digests import digest_file
from warren.storage.errors import ObjectDamaged, ObjectMissing, StorageUnavailable
from warren.storage.tensors import (
    DTYPES,
    HEADER_BYTES_MAX,
    TENSORS_MAX,
    read_header,
    write_file,
)
from warren.storage.torch_tensors import TORCH_DTYPES, map_file, save


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    """One of each dtype, and the shapes that break readers."""
    torch.manual_seed(1)
    made = {name: (torch.randn(3, 5) * 50).to(dtype) for name, dtype in TORCH_DTYPES.items()}
    made |= {"scalar": torch.tensor(7), "empty": torch.zeros(0, 4), "turned": torch.randn(4, 6).t()}
    return made | {"größe.0": torch.randn(1), "odd": torch.tensor([True, False, True])}


def raw(path: Path, fields: object, data: bytes = b"") -> Path:
    text = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def f32(start: int, end: int, shape: list[int]) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


def test_the_ordinary_library_reads_what_we_write(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save(tmp_path / "x", tensors, {"round": "3", "é": "1"})
    loaded = safetensors.torch.load_file(tmp_path / "x")
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor)
        assert loaded[name].dtype == tensor.dtype
    with safetensors.safe_open(tmp_path / "x", "pt") as file:
        assert file.metadata() == {"round": "3", "é": "1"}


def test_we_read_what_the_ordinary_library_writes(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    plain = {name: tensor.contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(plain, tmp_path / "x", {"format": "pt"})
    mapped = map_file(tmp_path / "x")
    assert mapped.keys() == plain.keys()
    assert all(torch.equal(mapped[name], plain[name]) for name in plain)
    assert read_header(tmp_path / "x").metadata == {"format": "pt"}


def test_equal_contents_are_equal_bytes_in_whatever_order_they_came(
    tmp_path: Path, tensors: dict[str, torch.Tensor]
) -> None:
    first = save(tmp_path / "a", tensors, {"a": "1", "b": "2"})
    second = save(tmp_path / "b", dict(reversed(tensors.items())), {"b": "2", "a": "1"})
    assert first == second
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_digest_of_writing_is_the_digest_of_the_file(tmp_path: Path) -> None:
    written = save(tmp_path / "x", {"w": torch.randn(700_001), "b": torch.randn(3)}, {})
    assert written.digest == digest_file(tmp_path / "x")
    assert written.size == (tmp_path / "x").stat().st_size


def test_every_tensor_of_a_written_file_is_aligned(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save(tmp_path / "x", tensors, {"odd": "!"})
    header = read_header(tmp_path / "x")
    assert header.data_start % 8 == 0
    assert all(tensor.start % DTYPES[tensor.dtype] == 0 for tensor in header.tensors.values())


def test_an_unaligned_tensor_of_another_writer_is_read(tmp_path: Path) -> None:
    fields = {"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}, "b": f32(1, 9, [2])}
    path = raw(tmp_path / "x", fields, b"\7" + np.array([1.5, 2.5], "<f4").tobytes())
    assert map_file(path)["b"].tolist() == [1.5, 2.5]


def test_writing_to_a_mapped_tensor_leaves_the_file_alone(tmp_path: Path) -> None:
    written = save(tmp_path / "x", {"w": torch.ones(10_000)}, {})
    map_file(tmp_path / "x")["w"].add_(1)
    assert digest_file(tmp_path / "x") == written.digest


def test_a_file_without_torch_is_the_same_file(tmp_path: Path) -> None:
    array = np.arange(6, dtype="<f4").reshape(2, 3)
    first = write_file(tmp_path / "a", [("w", "F32", (2, 3), array.tobytes())], {})
    assert first == save(tmp_path / "b", {"w": torch.from_numpy(array)}, {})
    assert np.array_equal(safetensors.numpy.load_file(tmp_path / "a")["w"], array)


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable):
        save(tmp_path / "no" / "x", {"w": torch.ones(2)}, {})
    with pytest.raises(AssertionError):
        write_file(tmp_path / "x", [("w", "F32", (3,), b"1234")], {})
    assert list(tmp_path.iterdir()) == []


def test_a_dtype_that_no_file_holds_is_named_with_its_tensor(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"spectrum: torch\.complex64"):
        save(tmp_path / "x", {"spectrum": torch.zeros(2, dtype=torch.complex64)}, {})


def test_a_missing_file_is_missing_and_not_damaged(tmp_path: Path) -> None:
    with pytest.raises(ObjectMissing):
        read_header(tmp_path / "none")


@pytest.mark.parametrize("keep", [0, 7, 9, 40, 200, -1])
def test_a_truncated_file_is_damaged(tmp_path: Path, tensors: dict[str, torch.Tensor], keep: int) -> None:
    save(tmp_path / "x", tensors, {})
    whole = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(whole[:keep])
    with pytest.raises(ObjectDamaged):
        read_header(tmp_path / "x")


DAMAGE: dict[str, tuple[object, bytes, str]] = {
    "no object": ([1], b"", "not a JSON object"),
    "no JSON": (b"{,}", b"", "not JSON"),
    "no Unicode": (b'{"\xff":1}', b"", "not JSON"),
    "half a surrogate": (b'{"\\ud800":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}', b"", "Unicode"),
    "NaN": (b'{"w":NaN}', b"", "NaN"),
    "twice": (b'{"w":1,"w":1}', b"", "twice"),
    "deep": (b'{"w":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b"", "not JSON"),
    "long number": (b'{"w":' + b"9" * 10_000 + b"}", b"", "not JSON"),
    "too many items": (b"{" + b"[" * (25 * TENSORS_MAX) + b"}", b"", "more items"),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, b"", "map of strings"),
    "metadata crowd": ({"__metadata__": {str(n): "" for n in range(300)}}, b"", "300 metadata"),
    "no fields": ({"w": {}}, b"", "expected dtype"),
    "another dtype": ({"w": f32(0, 4, [1]) | {"dtype": "C64"}}, b"1234", "C64"),
    "dtype list": ({"w": f32(0, 4, [1]) | {"dtype": ["F32"]}}, b"1234", "none of"),
    "negative": ({"w": f32(0, 4, [-1])}, b"1234", "shape"),
    "true": ({"w": f32(0, 4, [True])}, b"1234", "shape"),  # type: ignore[list-item]
    "product of giants": ({"w": f32(0, 4, [1 << 40] * 60)}, b"1234", "do not hold"),
    "offsets swapped": ({"w": f32(4, 0, [1])}, b"1234", "do not hold"),
    "overlap": ({"a": f32(0, 8, [2]), "b": f32(4, 8, [1])}, b"12345678", "overlaps"),
    "gap": ({"a": f32(0, 4, [1]), "b": f32(8, 12, [1])}, b"123456789012", "gap"),
    "tail": ({"a": f32(0, 4, [1])}, b"12345678", "after the last"),
    "short": ({"a": f32(0, 8, [2])}, b"1234", "truncated"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_header_is_named(tmp_path: Path, what: str) -> None:
    fields, data, words = DAMAGE[what]
    with pytest.raises(ObjectDamaged, match=words):
        read_header(raw(tmp_path / "x", fields, data))


def test_a_header_length_is_not_believed(tmp_path: Path) -> None:
    for length in (HEADER_BYTES_MAX, HEADER_BYTES_MAX + 1, (1 << 64) - 1):
        (tmp_path / "x").write_bytes(struct.pack("<Q", length) + b"{}")
        with pytest.raises(ObjectDamaged):
            read_header(tmp_path / "x")
