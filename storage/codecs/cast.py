"""Sixteen bits a number: fp16 (IEEE binary16; 11 bits of precision, up to 65504) and bf16 (8 bits, float32's range).

Rounded to nearest: |decoded - x| <= 2^-11 |x| + 2^-25 for fp16 within its range, 2^-8 |x| for bf16.
What is too large for fp16 becomes its largest number.
"""

from __future__ import annotations

from ..compress import CompressSpec
from ..tensors import DTYPES
from .forms import Array, Form, items_of, numbers

_DTYPES = {"fp16": "F16", "bf16": "BF16"}


def forms(dense: Form, spec: CompressSpec) -> tuple[Form, ...]:
    """One tensor of the same name and shape; one that is as narrow already stays as it is."""
    narrow = _DTYPES[spec.to]
    return (dense if DTYPES[dense.dtype] <= DTYPES[narrow] else Form(dense.name, narrow, dense.shape),)


def encode(dense: Form, items: Array, spec: CompressSpec) -> tuple[Array, ...]:
    (narrow,) = forms(dense, spec)
    return (items if narrow == dense else items_of(narrow.dtype, numbers(dense.dtype, items)),)


def decode(dense: Form, parts: tuple[Array, ...], spec: CompressSpec) -> Array:
    (narrow,) = forms(dense, spec)
    return parts[0] if narrow == dense else items_of(dense.dtype, numbers(narrow.dtype, parts[0]))
