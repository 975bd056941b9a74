"""The largest items of each tensor and where they stand (Aji and Heafield 2017; with error feedback Stich et al. 2018).

    k = ceil(share n)    items of a tensor of n, by magnitude; of equal ones those that stand first
    place_j              of the j-th, ascending; written as steps: place_0 + 1, place_1 - place_0, ...
    decoded: the items at their places, 0 elsewhere

Ascending steps above 0 can't name a place twice, and are small numbers that a compressor likes.
"""

from __future__ import annotations

from math import ceil

import numpy as np

from ..compress import CompressSpec
from ..errors import ObjectDamaged
from ..tensors import shown
from .forms import Array, Form, numbers

ITEMS_OF_I32 = 1 << 31


def forms(dense: Form, spec: CompressSpec) -> tuple[Form, ...]:
    """The items under the tensor's own name, and the steps between their places."""
    kept = ceil(spec.share * dense.items)
    steps = "I32" if dense.items < ITEMS_OF_I32 else "I64"
    return Form(dense.name, dense.dtype, (kept,)), Form(f"steps:{dense.name}", steps, (kept,))


def left_out(dense: Form, items: Array, spec: CompressSpec) -> Array:
    """What does not travel: the items with 0 at the places of those that do."""
    left = items.copy()
    left[largest(numbers(dense.dtype, items), forms(dense, spec)[0].items)] = 0
    return left


def encode(dense: Form, items: Array, spec: CompressSpec) -> tuple[Array, ...]:
    """Items and steps."""
    kept, stepped = forms(dense, spec)
    places = largest(numbers(dense.dtype, items), kept.items)
    steps = np.diff(places, prepend=-1)
    return items[places], steps.astype("<i4" if stepped.dtype == "I32" else "<i8")


def decode(dense: Form, parts: tuple[Array, ...], spec: CompressSpec) -> Array:
    """The tensor's items. Raises ObjectDamaged: places that do not ascend within the tensor."""
    kept, steps = parts
    if len(steps) and steps.min() < 1:
        raise ObjectDamaged(f"tensor {shown(dense.name)} has a step of {steps.min()}: places must ascend")
    if len(steps) and (steps > dense.items).any():  # before the sum, which must not run over
        raise ObjectDamaged(f"tensor {shown(dense.name)} has a step of {steps.max()} among {dense.items} items")
    places = np.cumsum(steps, dtype=np.int64) - 1
    if len(places) and places[-1] >= dense.items:
        raise ObjectDamaged(f"tensor {shown(dense.name)} has an item at {places[-1]} of {dense.items}")
    whole = np.zeros(dense.items, kept.dtype)
    whole[places] = kept
    return whole


def largest(values: Array, count: int) -> Array:
    """(count,) places of the largest magnitudes, ascending; NaN counts as the largest.

    The same on every machine: numpy's own partition leaves open which of equal ones it takes.
    """
    if count == 0:
        return np.zeros(0, np.int64)
    sizes = np.abs(values)
    sizes[np.isnan(sizes)] = np.inf
    least = np.partition(sizes, len(sizes) - count)[len(sizes) - count]
    above = np.flatnonzero(sizes > least)
    equal = np.flatnonzero(sizes == least)[: count - len(above)]
    return np.sort(np.concatenate([above, equal]))
