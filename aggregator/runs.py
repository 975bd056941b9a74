"""Tensors that lie side by side in a file and in a sum: cut into windows for the threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ..storage.tensors import DTYPES, TensorSpec
from .threads import cores

BLOCK_ITEMS = 1 << 18  # 1 MiB of the total: stays in cache while several updates pass over it
WINDOW_BYTES = 16 << 20  # of each update, at most: what one thread takes on at a time
WINDOWS_EACH = 2  # of a run for each thread, at least: none waits long for the last one

Sum = tuple[torch.dtype, bool]  # what adds up as one: its dtype, and whether every update counts alike


@dataclass(frozen=True, slots=True)
class Run:
    """Tensors that lie side by side both in a file and in the total: folded as one."""

    total: Sum
    dtype: str
    at: int  # first item in the total
    start: int  # first byte in the data section
    items: int


def continues(run: Run, spec: TensorSpec, total: Sum, at: int) -> bool:
    """Whether this tensor comes right after the run, in the file and in the sum."""
    return (run.total, run.dtype, run.at + run.items, run.start + run.items * DTYPES[run.dtype]) == (
        total,
        spec.dtype,
        at,
        spec.start,
    )


def windows(run: Run) -> Iterator[Run]:
    """The run in parts, each for one thread."""
    width = DTYPES[run.dtype]
    step = window_items(run.items, width)
    for done in range(0, run.items, step):
        yield Run(run.total, run.dtype, run.at + done, run.start + done * width, min(step, run.items - done))


def window_items(items: int, width: int) -> int:
    """How many of so many items of `width` bytes one thread takes on at a time: whole blocks."""
    share = -(-items // (WINDOWS_EACH * cores() * BLOCK_ITEMS)) * BLOCK_ITEMS
    return max(1, min(share, WINDOW_BYTES // width))
