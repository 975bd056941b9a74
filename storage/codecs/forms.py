"""A tensor's form apart from its bytes, and its numbers as numpy sees them (which has no bfloat16)."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..tensors import DTYPES

Array = NDArray[Any]

_STORED = {
    "F64": "<f8", "I64": "<i8", "F32": "<f4", "I32": "<i4", "F16": "<f2", "BF16": "<u2", "I16": "<i2", "I8": "i1",
    "U8": "u1", "BOOL": "u1",
}  # fmt: skip
_F16_MAX = np.float16(65504)
_BF16_MAX, _BF16_NAN, _BF16_INFINITE = 0x7F7F, 0x7FC0, 0x7F80


@dataclass(frozen=True, slots=True)
class Form:
    """What a file's header says of a tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def items(self) -> int:
        return prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.items * DTYPES[self.dtype]


def stored(form: Form, data: memoryview | bytes) -> Array:
    """The tensor's items as they lie in a file: (items,), bfloat16 as the integers of its bits. No copy."""
    return np.frombuffer(data, _STORED[form.dtype], count=form.items)


def numbers(dtype: str, items: Array) -> Array:
    """Stored floating items as float32, or as float64 where they are that."""
    if dtype == "BF16":
        return (items.astype("<u4") << 16).view("<f4")
    return items if dtype in ("F32", "F64") else items.astype("<f4")


def items_of(dtype: str, values: Array) -> Array:
    """Numbers as stored items: the nearest one, the largest finite one in place of an infinite one."""
    if dtype == "BF16":
        return _to_bf16(values.astype("<f4", copy=False))
    if dtype != "F16":
        return values.astype(_STORED[dtype], copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        halves: Array = values.astype("<f2")
    over = np.isinf(halves) & np.isfinite(values)
    halves[over] = np.copysign(_F16_MAX, halves[over])
    return halves


def _to_bf16(values: Array) -> Array:
    bits = values.view("<u4")
    rounded: Array = ((bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) >> 16).astype("<u2")  # to even where halfway
    sign = (bits >> 16 & 0x8000).astype("<u2")
    over = ((rounded & 0x7FFF) >= _BF16_INFINITE) & np.isfinite(values)
    rounded[over] = sign[over] | _BF16_MAX
    lost = np.isnan(values)
    rounded[lost] = _BF16_NAN
    return rounded
