"""Whatever a peer sends as a packed update: the model's tensors, finite in size, or ObjectDamaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from warren.storage.codecs.forms import Form
from warren.storage.codecs.packing import Row, pack, unpack_file
from warren.storage.compress import CompressSpec
from warren.storage.errors import ObjectDamaged
from warren.storage.tensors import DTYPES, read_header, write_file
from warren.trainer.packed import Chance

MODEL = [Form("fc.weight", "F32", (4, 5)), Form("fc.bias", "BF16", (4,)), Form("count", "I64", ())]
TRAINED = frozenset(("fc.weight", "fc.bias"))
PLAIN_BYTES = sum(form.size for form in MODEL)
METHODS: list[dict[str, Any]] = [
    {"to": "fp16"}, {"to": "int8", "scale": "channel"}, {"to": "topk", "share": 0.2}, {"to": "topk", "zstd": 3},
    {"to": "int8", "zstd": 3}, {"zstd": 1},
]  # fmt: skip
ONE_FOLDER = [HealthCheck.function_scoped_fixture]  # each example overwrites the same file


def check(folder: Path, spec: CompressSpec) -> None:
    try:
        header = read_header(folder / "packed")
        unpack_file(folder / "packed", header, spec, MODEL, TRAINED, folder / "plain")
    except ObjectDamaged:
        return
    plain = read_header(folder / "plain")
    assert {name: (t.dtype, t.shape) for name, t in plain.tensors.items()} == {
        form.name: (form.dtype, form.shape) for form in MODEL
    }
    assert plain.size - plain.data_start == PLAIN_BYTES


def valid(spec: CompressSpec) -> list[Row]:
    chance = Chance(1)
    rows = (pack(spec, form, b"\x01" * form.size, trained=form.name in TRAINED, draw=chance) for form in MODEL)
    return [row for several in rows for row in several]


@settings(suppress_health_check=ONE_FOLDER, deadline=None)
@given(fields=st.sampled_from(METHODS), place=st.integers(0, 10_000), bits=st.integers(1, 255), cut=st.integers(0, 40))
def test_a_changed_file_is_read_or_damaged(
    tmp_path: Path, fields: dict[str, Any], place: int, bits: int, cut: int
) -> None:
    spec = CompressSpec.model_validate(fields)
    write_file(tmp_path / "packed", valid(spec), {})
    body = bytearray((tmp_path / "packed").read_bytes())
    body[place % len(body)] ^= bits
    (tmp_path / "packed").write_bytes(bytes(body[: len(body) - cut] if cut < 20 else body))
    check(tmp_path, spec)


@settings(suppress_health_check=ONE_FOLDER, deadline=None)
@given(data=st.data(), fields=st.sampled_from(METHODS))
def test_a_sound_file_with_any_contents_is_read_or_damaged(
    tmp_path: Path, data: st.DataObject, fields: dict[str, Any]
) -> None:
    spec = CompressSpec.model_validate(fields)
    rows: list[Row] = []
    for name, dtype, shape, body in valid(spec):
        if data.draw(st.booleans()):
            rows.append((name, dtype, shape, body))
        else:
            kind = data.draw(st.sampled_from([dtype, *DTYPES]))
            items = data.draw(st.integers(0, 30))
            other = shape if kind == dtype and data.draw(st.booleans()) else (items,)
            size = DTYPES[kind] * (other[0] if other == (items,) else len(memoryview(body).cast("B")) // DTYPES[dtype])
            rows.append((name, kind, other, data.draw(st.binary(min_size=size, max_size=size))))
    write_file(tmp_path / "packed", rows, {})
    check(tmp_path, spec)


@pytest.mark.parametrize("fields", METHODS, ids=str)
def test_what_the_encoder_writes_is_read(tmp_path: Path, fields: dict[str, Any]) -> None:
    spec = CompressSpec.model_validate(fields)
    write_file(tmp_path / "packed", valid(spec), {})
    unpack_file(tmp_path / "packed", read_header(tmp_path / "packed"), spec, MODEL, TRAINED, tmp_path / "plain")
