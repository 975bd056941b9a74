"""One pass over an update's bytes: its digest, and what is wrong with its values, if anything is."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..storage.digests import Digest, passing
from ..storage.pages import let_go, map_pages
from ..storage.tensors import FLOATING, Header, TensorSpec, shown

WEIGHTED_MAX = 2.0**100  # of |value| x weight: 100,000 clients of it still add up within float32
BLOCK_BYTES = 1 << 19  # digested and checked while it is in cache
WINDOW_BYTES = 1 << 19  # then unmapped: an update does not stay in our memory, of which four are read at a time


class _Bits(NamedTuple):
    """How a floating dtype lies in the integers of its size."""

    signed: np.dtype[np.signedinteger[Any]]
    unsigned: np.dtype[np.unsignedinteger[Any]]
    infinite: int  # the bits of infinity
    lost: int  # bits that the readable format has and this one lacks
    formats: tuple[str, str]  # struct's, of the integer and of the number that is read from it

    def largest(self, block: memoryview) -> int:
        """The bits of the largest magnitude in a block, without the sign's.

        Of positive numbers it is the largest signed integer, of negative ones the largest unsigned, less the sign
        bit; among numbers of one sign only, the other comes out below 0. Two looks cost less than one at a copy
        without the signs, and no memory: a copy of 1 MiB stayed with each of the threads that read.
        """
        positive = int(np.frombuffer(block, self.signed).max())
        negative = int(np.frombuffer(block, self.unsigned).max()) - (1 << (8 * self.signed.itemsize - 1))
        return max(positive, negative)

    def number(self, bits: int) -> float:
        whole, number = self.formats
        return float(struct.unpack(number, struct.pack(whole, bits << self.lost))[0])


_BITS = {
    "F64": _Bits(np.dtype("<i8"), np.dtype("<u8"), 0x7FF0_0000_0000_0000, 0, ("<Q", "<d")),
    "F32": _Bits(np.dtype("<i4"), np.dtype("<u4"), 0x7F80_0000, 0, ("<I", "<f")),
    "BF16": _Bits(np.dtype("<i2"), np.dtype("<u2"), 0x7F80, 16, ("<I", "<f")),
    "F16": _Bits(np.dtype("<i2"), np.dtype("<u2"), 0x7C00, 0, ("<H", "<e")),
}


@dataclass(frozen=True, slots=True)
class _Run:
    """Tensors of one dtype side by side: looked through as one, and named only where something is wrong."""

    dtype: str
    start: int  # [start, end) in the file
    end: int
    tensors: list[TensorSpec]


def look_through(
    update: Path | memoryview, header: Header, weight: int, digest: Digest = passing
) -> tuple[str, str | None]:
    """The digest of a file, and a complaint about its values.

    Args:
        update: the file, which nobody changes meanwhile; or its bytes, where they are in memory already.
        header: its header.
        weight: with which it would count.
        digest: of which kind.
    """
    source = map_pages(update, header.size) if isinstance(update, Path) else update
    mapped = source if isinstance(source, mmap.mmap) else None
    pages = memoryview(source)
    hasher = digest()
    hasher.update(pages[: header.data_start])
    complaint: str | None = None
    for run in _runs(header):
        for start in range(run.start, run.end, BLOCK_BYTES):
            block = pages[start : min(start + BLOCK_BYTES, run.end)]
            hasher.update(block)
            if complaint is None and _complaint(block, run.dtype, weight):
                complaint = _named(pages, header, run, start, weight)
            if mapped is not None and start // WINDOW_BYTES != (start + len(block)) // WINDOW_BYTES:
                let_go(mapped, start // WINDOW_BYTES * WINDOW_BYTES, WINDOW_BYTES)
    return hasher.hexdigest(), complaint


def _runs(header: Header) -> Iterator[_Run]:
    """In the order of their bytes, without gaps: `read_header` saw to it."""
    for dtype, group in groupby(header.tensors.values(), key=lambda tensor: tensor.dtype):
        tensors = list(group)
        yield _Run(dtype, header.data_start + tensors[0].start, header.data_start + tensors[-1].end, tensors)


def _named(pages: memoryview, header: Header, run: _Run, start: int, weight: int) -> str | None:
    """The complaint about the first tensor in this block that has one."""
    end = min(start + BLOCK_BYTES, run.end)
    for tensor in run.tensors:
        first, last = max(start, header.data_start + tensor.start), min(end, header.data_start + tensor.end)
        complaint = _complaint(pages[first:last], run.dtype, weight) if first < last else None
        if complaint:
            return f"tensor {shown(tensor.name)} {complaint}"
    return None


def _complaint(block: memoryview, dtype: str, weight: int) -> str | None:
    """What is wrong with some values of a dtype. `block`: whole items."""
    if dtype == "BOOL":
        return "holds bytes that are no truth values" if np.frombuffer(block, np.uint8).max() > 1 else None
    if dtype not in FLOATING:
        return None
    # Without the sign bit, the bits of a larger magnitude are the larger integer, infinity above all numbers
    # and NaN above it: one rule for every dtype, and numpy has no bfloat16. Not torch: its threads wait for
    # each other at every block, 20 times slower where trainers keep the cores busy.
    form = _BITS[dtype]
    most = form.largest(block)
    if most >= form.infinite:
        return f"holds {'NaN' if most > form.infinite else 'an infinite value'}"
    largest = form.number(most)
    if largest * weight > WEIGHTED_MAX:
        return f"holds {largest:.3g}, too large to be averaged (weight {weight})"
    return None
