"""Tensors that lie side by side in a file and in a sum: cut into windows for the threads, read block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from ..storage.files import OpenFile
from ..storage.tensors import DTYPES, TensorSpec
from ..storage.torch_tensors import TORCH_DTYPES
from .small import Small
from .threads import cores, own_buffer

BLOCK_ITEMS = 1 << 18  # 1 MiB of the total: stays in cache while several updates pass over it
WINDOW_BYTES = 8 << 20  # of each update, at most: what one thread takes on at a time
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


def reads(
    files: Sequence[OpenFile | Small], places: Sequence[int], run: Run, size: int
) -> Callable[[int, int], torch.Tensor]:
    """Gives a block of an update, in this thread's own memory until the next is read.

    Mapped pages would count as ours, 64 MiB of eight files, and cost more: each is faulted in and then unmapped,
    which interrupts the other cores.
    """
    width = DTYPES[run.dtype]
    buffer = own_buffer(min(size, run.items) * width)
    data, items = buffer.numpy().data, buffer.view(TORCH_DTYPES[run.dtype])

    def block(one: int, number: int) -> torch.Tensor:
        first = number * size
        count = min(run.items - first, size)
        files[one].read_into(data[: count * width], places[one] + first * width)
        return items if count == len(items) else items[:count]

    return block
