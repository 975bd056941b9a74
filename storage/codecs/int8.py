"""Eight bits a number, with a scale for each tensor or for each of its rows (QSGD: Alistarh et al. 2017, 3.1).

    s = max |x| / 127        of the tensor, or of the row of dimension 0
    q = floor(x / s + u)     u uniform in [0, 1): the expectation of s q is x; or u = 1/2: the nearest
    decoded: s q

|decoded - x| < s (stochastic), <= s/2 (nearest), each up to rounding. A scale below 2^-100 / 127 is taken as 0.
NaN or infinite values make a scale that is not finite, which the decoder names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..compress import CompressSpec
from ..errors import ObjectDamaged
from ..tensors import shown
from .forms import Array, Form, items_of, numbers

LEVELS = 127
BLOCK_ITEMS = 1 << 18  # worked on while in cache, so that no temporary is as large as the tensor
_LEAST = 2.0**-100

Draw = Callable[[int], Array]  # so many uniform uint32


def forms(dense: Form, spec: CompressSpec) -> tuple[Form, ...]:
    """The numbers under the tensor's own name, and their scales."""
    rows = dense.shape[0] if spec.scale == "channel" and len(dense.shape) > 1 else 1
    kind = "F64" if dense.dtype == "F64" else "F32"
    return Form(dense.name, "I8", dense.shape), Form(f"scale:{dense.name}", kind, (rows,))


def encode(dense: Form, items: Array, spec: CompressSpec, draw: Draw) -> tuple[Array, ...]:
    """Numbers and scales. Nearest draws nothing."""
    _, scaled = forms(dense, spec)
    scales = np.zeros(scaled.items, "<f8" if scaled.dtype == "F64" else "<f4")
    if not dense.items:
        return np.zeros(0, "i1"), scales
    values = items.reshape(scaled.items, -1)
    for rows, columns in _blocks(values.shape):
        largest = np.abs(numbers(dense.dtype, values[rows, columns])).max(axis=1)
        scales[rows] = np.maximum(scales[rows], largest)  # NaN wins
    scales[scales < _LEAST] = 0
    scales /= LEVELS
    found = np.empty(values.shape, "i1")
    divisors = np.where(np.isfinite(scales) & (scales > 0), scales, np.inf).astype(scales.dtype)  # x / inf = 0
    with np.errstate(invalid="ignore"):
        for rows, columns in _blocks(values.shape):
            part = numbers(dense.dtype, values[rows, columns]) / divisors[rows, None]
            found[rows, columns] = _rounded(part, draw if spec.rounding == "stochastic" else None)
    return found.reshape(-1), scales


def decode(dense: Form, parts: tuple[Array, ...], spec: CompressSpec) -> Array:
    """The tensor's items. Raises ObjectDamaged: a scale that is negative or not finite."""
    whole, scales = parts
    if not (np.isfinite(scales) & (scales >= 0)).all():
        worst = scales[~(np.isfinite(scales) & (scales >= 0))][0]
        raise ObjectDamaged(f"tensor {shown(dense.name)} has a scale of {worst}: it held NaN or an infinite value")
    whole = whole.reshape(len(scales), -1)
    items = np.empty(whole.shape, items_of(dense.dtype, scales[:0]).dtype)
    with np.errstate(over="ignore"):  # an infinite value is for whoever reads the tensor to name
        for rows, columns in _blocks(whole.shape):
            items[rows, columns] = items_of(dense.dtype, whole[rows, columns] * scales[rows, None])
    return items.reshape(-1)


def _rounded(part: Array, draw: Draw | None) -> Array:
    """To whole numbers, up by chance where a generator is given. The fractions are exact: 24 bits of chance suffice."""
    if draw is None:
        return _bounded(np.rint(part))
    whole: Array = np.floor(part)
    chance = (draw(part.size) >> 8).astype(part.dtype) * part.dtype.type(2.0**-24)
    whole += chance.reshape(part.shape) < part - whole
    return _bounded(whole)


def _bounded(whole: Array) -> Array:
    bounded: Array = np.clip(np.nan_to_num(whole), -LEVELS, LEVELS)
    return bounded


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Rows and columns, block by block; several short rows, or a piece of a long one."""
    rows, columns = shape
    if not columns:
        return
    height, width = max(1, BLOCK_ITEMS // columns), min(columns, BLOCK_ITEMS)
    for top in range(0, rows, height):
        for left in range(0, columns, width):
            yield slice(top, top + height), slice(left, left + width)
