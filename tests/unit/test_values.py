"""Looking through an update's values: what is found, of either sign, in every dtype, and in how much memory."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path

import pytest
import torch

from warren.aggregator.values import WEIGHTED_MAX, look_through
from warren.storage.tensors import read_header
from warren.storage.torch_tensors import save

FLOATING = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
TOO_LARGE = {torch.float64: 1e40, torch.float32: 1e38, torch.bfloat16: 1e38}  # no float16 is, with a weight of 1
ITEMS = 1000


def complaint(path: Path, values: torch.Tensor, weight: int = 1) -> str | None:
    save(path, {"w": values}, {})
    return look_through(path, read_header(path), weight)[1]


@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("others", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_one_bad_value_of_either_sign_is_found_among_values_of_any(
    tmp_path: Path, dtype: torch.dtype, others: float, sign: float
) -> None:
    values = torch.full((ITEMS,), others, dtype=dtype)
    assert complaint(tmp_path / "u", values) is None
    bad = {float("inf"): "an infinite value", float("nan"): "NaN"}
    if dtype in TOO_LARGE:
        bad[TOO_LARGE[dtype]] = "too large"
    for value, words in bad.items():
        values[ITEMS // 2] = math.copysign(value, sign)
        assert words in (complaint(tmp_path / "u", values) or "")


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_largest_magnitude_times_the_weight_decides(tmp_path: Path, sign: float) -> None:
    values = torch.full((ITEMS,), sign * -0.5)
    values[7] = sign * WEIGHTED_MAX / 4
    assert complaint(tmp_path / "u", values, weight=4) is None
    assert "too large" in (complaint(tmp_path / "u", values, weight=5) or "")


def test_negative_zeros_are_nothing_large(tmp_path: Path) -> None:
    assert complaint(tmp_path / "u", torch.full((ITEMS,), -0.0), weight=10**12) is None


@pytest.mark.parametrize("dtype", FLOATING)
def test_no_copy_of_the_values_is_made(tmp_path: Path, dtype: torch.dtype) -> None:
    save(tmp_path / "u", {"w": torch.randn(1 << 20).to(dtype)}, {})
    header = read_header(tmp_path / "u")
    tracemalloc.start()
    try:
        look_through(tmp_path / "u", header, 1)
        assert tracemalloc.get_traced_memory()[1] < 1 << 16
    finally:
        tracemalloc.stop()
