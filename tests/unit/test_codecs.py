"""Packed tensors come back within their bounds; the same chance gives the same bytes; what is odd is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.random import PCG64

from warren.storage.codecs import frames, topk
from warren.storage.codecs.forms import Array, Form, items_of, numbers, stored
from warren.storage.codecs.packing import Row, pack, packed_bytes_max, packed_forms, unpack_file
from warren.storage.compress import CompressSpec
from warren.storage.errors import ObjectDamaged, SpecInvalid
from warren.storage.job import make_spec
from warren.storage.tensors import read_header, write_file
from warren.trainer.packed import REST, Chance, fed_back

EVERY = [
    {"to": "fp16"},
    {"to": "bf16"},
    {"to": "int8"},
    {"to": "int8", "scale": "channel"},
    {"to": "int8", "rounding": "nearest"},
    {"to": "topk", "share": 0.3},
    {"to": "none", "zstd": 3},
    {"to": "int8", "zstd": 1},
    {"to": "topk", "share": 0.3, "zstd": 9},
]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9)
NUMBERS = st.floats(-(2.0**100), 2.0**100, width=32)


def spec_of(**fields: Any) -> CompressSpec:
    return CompressSpec.model_validate(fields)


def rows_of(spec: CompressSpec, form: Form, items: Array, seed: int = 1, *, trained: bool = True) -> list[Row]:
    data = np.ascontiguousarray(items).reshape(-1).view("u1").data if items.size else b""
    return pack(spec, form, data, trained=trained, draw=Chance(seed))


def there_and_back(folder: Path, spec: CompressSpec, form: Form, items: Array, *, trained: bool = True) -> Array:
    """The items after their way through two files."""
    write_file(folder / "packed", rows_of(spec, form, items, trained=trained), {"warren": "1"})
    header = read_header(folder / "packed")
    assert header.size <= packed_bytes_max(spec, [form], {form.name} if trained else (), 8192)
    unpack_file(folder / "packed", header, spec, [form], {form.name} if trained else (), folder / "plain")
    plain = read_header(folder / "plain")
    assert plain.metadata == {"warren": "1"}
    place = plain.tensors[form.name]
    assert (place.dtype, place.shape) == (form.dtype, form.shape)
    return stored(form, (folder / "plain").read_bytes()[plain.data_start + place.start :])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packed")


@settings(max_examples=60, deadline=None)
@given(
    values=hnp.arrays("<f4", SHAPES, elements=NUMBERS),
    fields=st.sampled_from(EVERY),
    kind=st.sampled_from(["F32", "F64", "F16", "BF16"]),
)
def test_what_comes_back_is_within_the_bound_of_its_method(
    folder: Path, values: Array, fields: dict[str, Any], kind: str
) -> None:
    spec, form = spec_of(**fields), Form("w", kind, values.shape)
    items = items_of(kind, values.reshape(-1))
    sent = numbers(kind, items).astype("<f8")
    found = numbers(kind, there_and_back(folder, spec, form, items)).astype("<f8")
    assert np.isfinite(found).all()
    error = np.abs(found - sent)
    last = {"F64": 2.0**-52, "F32": 2.0**-23, "F16": 2.0**-10, "BF16": 2.0**-7}[kind] * np.abs(sent)
    if spec.to == "none" or (spec.to == "bf16" and kind == "F16") or (spec.to == "fp16" and kind == "BF16"):
        assert not error.any()
    elif spec.to == "bf16":
        assert (error <= 2.0**-8 * (1 + 2.0**-15) * np.abs(sent) + 2.0**-133).all()
    elif spec.to == "fp16":
        inside = np.abs(sent) <= 65504
        assert (error[inside] <= 2.0**-11 * np.abs(sent[inside]) + 2.0**-25).all()
        assert (np.abs(found[~inside]) == 65504).all()
    elif spec.to == "int8" and sent.size:
        rows = values.shape[0] if spec.scale == "channel" and values.ndim > 1 else 1
        scale = np.abs(sent.reshape(rows, -1)).max(axis=1, keepdims=True) / 127
        bound = scale * (1.0 if spec.rounding == "stochastic" else 0.5) * (1 + 2.0**-16) + 2.0**-100
        assert (error.reshape(rows, -1) <= bound + last.reshape(rows, -1) + 2.0**-24).all()
    elif spec.to == "topk":
        kept = found != 0
        assert (found[kept] == sent[kept]).all()
        assert np.count_nonzero(kept) <= -(-3 * sent.size // 10)
        assert not kept.any() or np.abs(sent[kept]).min() >= np.abs(sent[~kept]).max(initial=0)


@pytest.mark.parametrize("fields", EVERY, ids=str)
def test_equal_chance_gives_equal_bytes_and_int8_uses_it(fields: dict[str, Any]) -> None:
    spec, form = spec_of(**fields), Form("w", "F32", (40, 25))
    values = np.random.default_rng(3).normal(size=1000).astype("<f4")
    first, second, other = (rows_of(spec, form, values, seed) for seed in (1, 1, 2))
    assert [(row[:3], bytes(row[3])) for row in first] == [(row[:3], bytes(row[3])) for row in second]
    chance = spec.to == "int8" and spec.rounding == "stochastic"
    assert ([bytes(row[3]) for row in first] != [bytes(row[3]) for row in other]) == chance


def test_tensors_that_are_not_trained_come_back_bit_by_bit(folder: Path) -> None:
    form = Form("running_mean", "F32", (3,))
    values = np.array([1e-30, np.pi, 7e20], "<f4")
    for fields in EVERY:
        assert (there_and_back(folder, spec_of(**fields), form, values, trained=False) == values).all()


def test_stochastic_rounding_is_unbiased() -> None:
    """The mean over T draws is within 5 standard errors (at most s / (2 sqrt T) each) of the number, for all 200."""
    spec, form = spec_of(to="int8"), Form("w", "F32", (200,))
    values = np.random.default_rng(5).normal(size=200).astype("<f4")
    scale, draws = float(np.abs(values).max()) / 127, 4000
    total = np.zeros(200)
    for seed in range(draws):
        whole, scales = rows_of(spec, form, values, seed)
        total += np.frombuffer(whole[3], "i1") * np.frombuffer(scales[3], "<f4").astype("<f8")
    assert np.abs(total / draws - values).max() < 5 * scale / (2 * np.sqrt(draws))


def test_chance_is_the_generators_raw_output() -> None:
    raw = int(PCG64(9).random_raw())
    assert Chance(9)(3)[:2].tolist() == [raw & 0xFFFFFFFF, raw >> 32]


def test_of_equal_items_the_first_are_kept() -> None:
    assert topk.largest(np.array([1, -2, 2, 2, np.nan, 0], "<f4"), 3).tolist() == [1, 2, 4]
    assert topk.largest(np.zeros(5, "<f4"), 2).tolist() == [0, 1]


def test_int8_is_a_quarter_and_topk_is_what_its_share_says() -> None:
    values = np.random.default_rng(3).normal(size=100_000).astype("<f4")
    form = Form("w", "F32", (100, 1000))

    def size(**fields: Any) -> int:
        return sum(len(memoryview(row[3]).cast("B")) for row in rows_of(spec_of(**fields), form, values))

    assert size(to="int8") == 100_004
    assert size(to="int8", scale="channel") == 100_400
    assert size(to="topk", share=0.01) == 8_000
    assert size(to="topk", share=0.01, zstd=3) < 6_000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("fields", EVERY, ids=str)
def test_a_number_that_is_none_is_not_hidden(folder: Path, fields: dict[str, Any], value: float) -> None:
    """It comes back, for whoever reads the plain file to name, or the decoder names it."""
    values = np.ones(50, "<f4")
    values[7] = value
    form, spec = Form("w", "F32", (50,)), spec_of(**fields)
    if spec.to == "int8":
        assert "'w' has a scale of" in odd(folder, rows_of(spec, form, values), spec, form)
    else:
        assert not np.isfinite(there_and_back(folder, spec, form, values)[7])


def odd(folder: Path, rows: list[Row], spec: CompressSpec, form: Form) -> str:
    write_file(folder / "packed", rows, {})
    with pytest.raises(ObjectDamaged) as caught:
        unpack_file(folder / "packed", read_header(folder / "packed"), spec, [form], {form.name}, folder / "odd")
    assert not (folder / "odd").exists()
    return str(caught.value)


def i32(*values: int) -> bytes:
    return np.array(values, "<i4").tobytes()


def f32(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


def test_places_that_do_not_ascend_within_the_tensor_are_named(folder: Path) -> None:
    spec, form = spec_of(to="topk", share=0.2), Form("w", "F32", (10,))
    for steps, said in (
        ((1, 0), "step of 0"),
        ((3, -2), "step of -2"),
        ((9, 2), "item at 10 of 10"),
        ((1, 2**31 - 1), "step of"),
    ):
        rows: list[Row] = [("w", "F32", (2,), f32(1, 2)), ("steps:w", "I32", (2,), i32(*steps))]
        assert said in odd(folder, rows, spec, form)


def test_more_items_than_the_job_asks_for_are_refused(folder: Path) -> None:
    spec, form = spec_of(to="topk", share=0.2), Form("w", "F32", (10,))
    rows: list[Row] = [("w", "F32", (3,), f32(1, 2, 3)), ("steps:w", "I32", (3,), i32(1, 1, 1))]
    assert "not I32 [2]" in odd(folder, rows, spec, form)


@pytest.mark.parametrize("scale", [np.nan, np.inf, -1.0])
def test_a_scale_that_is_no_scale_is_named(folder: Path, scale: float) -> None:
    rows: list[Row] = [("w", "I8", (2,), b"\1\2"), ("scale:w", "F32", (1,), f32(scale))]
    assert "'w' has a scale of" in odd(folder, rows, spec_of(to="int8"), Form("w", "F32", (2,)))


def test_a_missing_a_further_and_a_misshapen_tensor_are_named(folder: Path) -> None:
    spec, form = spec_of(to="int8"), Form("w", "F32", (2,))
    whole: Row = ("w", "I8", (2,), b"\1\2")
    scale: Row = ("scale:w", "F32", (1,), f32(1))
    assert odd(folder, [whole], spec, form) == "tensor 'scale:w' is missing"
    assert "does not belong" in odd(folder, [whole, scale, ("more", "I8", (1,), b"\0")], spec, form)
    assert "not I8 [2]" in odd(folder, [("w", "I8", (3,), b"\1\2\3"), scale], spec, form)
    assert "not F32 [1]" in odd(folder, [whole, ("scale:w", "F64", (1,), bytes(8))], spec, form)


def test_a_frame_that_says_more_than_the_tensor_holds_is_not_opened(folder: Path) -> None:
    spec, form = spec_of(zstd=3), Form("w", "F32", (2,))
    bomb = frames.compressed(bytes(1 << 26), 19)
    assert len(bomb) > frames.bound(form.size)
    assert "not a zstd frame" in odd(folder, [("w", "U8", (len(bomb),), bomb)], spec, form)
    small = frames.compressed(bytes(1 << 20), 19)
    assert len(small) < frames.bound(form.size)
    assert "1048576 bytes where 8 belong" in odd(folder, [("w", "U8", (len(small),), small)], spec, form)


def test_a_cut_a_foreign_and_a_second_frame_are_named(folder: Path) -> None:
    spec, form = spec_of(zstd=3), Form("w", "F32", (2,))
    frame = frames.compressed(bytes(8), 3)
    for body in (frame[:-1], b"no frame", frame + frame, b""):
        assert odd(folder, [("w", "U8", (len(body),), body)], spec, form).startswith("tensor 'w': ")


def test_a_models_own_tensor_with_a_reserved_name_is_named(folder: Path) -> None:
    forms = [Form("w", "F32", (1,)), Form("scale:w", "F32", (1,))]
    rows: list[Row] = [("w", "I8", (1,), b"\1"), ("scale:w", "F32", (1,), f32(1))]
    write_file(folder / "packed", rows, {})
    with pytest.raises(ObjectDamaged, match="name of another"):
        unpack_file(folder / "packed", read_header(folder / "packed"), spec_of(to="int8"), forms, {"w"}, folder / "x")


def test_a_tensor_past_the_reach_of_32_bits_has_64_bit_steps() -> None:
    _, steps = packed_forms(spec_of(to="topk", share=1e-9), Form("w", "F32", (1 << 31,)), trained=True)
    assert (steps.dtype, steps.shape) == ("I64", (3,))


def test_the_largest_items_of_weights_are_no_job() -> None:
    task = {"name": "t", "file": "t.py", "digest": "0" * 64}
    with pytest.raises(SpecInvalid, match=r"compress\.to"):
        make_spec({"job": "j", "task": task, "compress": {"to": "topk"}})
    for update in ("delta", "gradients"):
        assert make_spec({"job": "j", "task": task, "update": update, "compress": {"to": "topk"}}).compress.used


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_error_feedback_sends_or_keeps_everything(dtype: torch.dtype) -> None:
    """What was sent so far and what is left add up to all that there was; what is sent does not stay."""
    spec = spec_of(to="topk", share=0.1)
    chance = torch.Generator().manual_seed(4)
    kept: dict[str, torch.Tensor] = {}
    sent = total = torch.zeros(20, 5, dtype=torch.float64)
    for _ in range(30):
        delta = torch.randint(-8, 9, (20, 5), generator=chance).to(dtype)  # whole numbers: sums are exact
        total = total + delta.double()
        fed, rest = fed_back(spec, {"w": delta}, ("w",), kept)
        assert rest[REST + "w"].dtype == dtype
        going = fed["w"] - rest[REST + "w"]
        assert torch.count_nonzero(going) <= 10
        assert not torch.any((going != 0) & (rest[REST + "w"] != 0))
        sent, kept = sent + going.double(), rest
        torch.testing.assert_close(sent + rest[REST + "w"].double(), total, rtol=0, atol=0)
