"""Folding updates into one weighted average: in place, in the order given, at the speed of memory."""

from __future__ import annotations

import functools
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from ..storage.pages import let_go, map_pages
from ..storage.rules import BESIDE
from ..storage.tensors import DTYPES, FLOATING, Header, TensorSpec, read_header
from ..storage.torch_tensors import TORCH_DTYPES, map_file
from .layout import Layout

BLOCK_ITEMS = 1 << 18  # 1 MiB of the total: stays in cache while several updates pass over it
GROUP_MAX = 8  # updates of one pass
WINDOW_BYTES = 4 << 20  # of each file, read by one thread at a time and then unmapped: updates stay out of our memory
THREADS_MAX = 8  # memory is the limit, not cores

Tensors = dict[str, torch.Tensor]
Sum = tuple[torch.dtype, bool]  # what adds up as one: its dtype, and whether every update counts alike


def fold(
    total: torch.Tensor,
    updates: Sequence[torch.Tensor],
    weights: Sequence[float],
    *,
    clear: bool = False,
    divisor: float | None = None,
) -> None:
    """Add weighted updates to `total` in place, in the order given.

    Args:
        total: (n,) float32 or float64, the caller's; changed.
        updates: each (n,) floating, read only; may be mapped files, not kept.
        weights: of each, above 0, exact in the dtype of `total`.
        clear: whether these are the first: what stands in `total` is of no use.
        divisor: the whole weight, above 0, where these are the last: `total` becomes the average.

    Order is part of the result (float addition does not associate): pass client order. For k updates in
    all, the error of an element is at most k eps / (1 - k eps) sum |w_i u_i| (Higham 2002, 4.2), eps 2^-24
    for a float32 total. All that happens to a block of `total` happens while it is in cache: several updates
    in one pass, clearing it before and dividing it after. Smaller blocks gain nothing, not even without
    Python's share of each call (by TorchScript, on 2 cores): what is left is reading the updates.
    """
    scratch: torch.Tensor | None = None
    blocks = [torch.split(whole, BLOCK_ITEMS) for whole in (total, *updates)]
    for block, *parts in zip(*blocks, strict=True):
        if clear:
            block.zero_()
        for part, weight in zip(parts, weights, strict=True):
            same = part
            if part.dtype != total.dtype:
                # add_ of two dtypes converts item by item: 8 times slower than a copy that converts, then an add
                scratch = torch.empty_like(block) if scratch is None else scratch
                same = scratch[: len(part)].copy_(part)
            block.add_(same, alpha=weight)
        if divisor is not None:
            block.div_(divisor)


@dataclass(frozen=True, slots=True)
class Incoming:
    """One update to fold: a file that was examined, and its weight."""

    client: str
    attempt: str
    path: Path
    weight: float  # above 0


@dataclass(frozen=True, slots=True)
class _Run:
    """Tensors that lie side by side both in a file and in the total: folded as one."""

    total: Sum
    dtype: str
    at: int  # first item in the total
    start: int  # first byte in the data section
    items: int


class Fold:
    """The weighted sum of a round's updates so far. Holds one model, however many updates come.

    float16, bfloat16 and float32 add up in float32, float64 in float64; `double` makes it float64 for all.
    Integer tensors are those of the first update. What updates carry beside the model counts once for each of
    them, whatever their weights. The buffers are reused from round to round (`reset`).
    """

    def __init__(self, layout: Layout, *, double: bool = False) -> None:
        self._places: dict[str, tuple[TensorSpec, Sum, int]] = {}
        sizes: dict[Sum, int] = {}
        floating = [spec for spec in layout.tensors.values() if spec.dtype in FLOATING]
        for spec in sorted(floating, key=lambda s: (-DTYPES[s.dtype], s.name)):  # the order of written files
            dtype = torch.float64 if double or spec.dtype == "F64" else torch.float32
            total = (dtype, spec.name.startswith(BESIDE))
            self._places[spec.name] = (spec, total, sizes.get(total, 0))
            sizes[total] = sizes.get(total, 0) + _items(spec)
        # Not cleared here, nor by `reset`: the first updates do it, block by block.
        self._totals = {total: torch.empty(size, dtype=total[0]) for total, size in sizes.items()}
        self._weights = dict.fromkeys(sizes, 0.0)
        self._integers: Tensors = {}
        self._folded: list[tuple[str, str]] = []
        self._spent = False

    @property
    def folded(self) -> tuple[tuple[str, str], ...]:
        """(client, attempt) of each update in the sum, in order."""
        return tuple(self._folded)

    @property
    def spent(self) -> bool:
        """Whether the result was taken: only `reset` makes it useful again."""
        return self._spent

    def reset(self) -> None:
        """Start a new sum in the same memory. What `result` gave is overwritten."""
        self._weights = dict.fromkeys(self._totals, 0.0)
        self._integers = {}
        self._folded = []
        self._spent = False

    def add(self, updates: Iterable[Incoming]) -> None:
        """Fold updates, in the order given.

        Raises:
            ObjectDamaged, ObjectMissing, StorageUnavailable: of a file; the sum then starts anew.
        """
        assert not self._spent, "the result was taken: reset first"
        for group in _groups(updates):
            self._add_group(group, last=False)

    def result(self, rest: Iterable[Incoming] = ()) -> Tensors:
        """The average of each floating tensor, and the first update's integers; in the memory of the sum.

        Args:
            rest: updates that are still to be folded: with them no pass over the sum is needed for the division.

        Raises:
            As `add`.
        """
        assert not self._spent or not rest, "the result was taken: reset first"
        if not self._spent:
            ahead: list[Incoming] = []
            for group in _groups(rest):
                if ahead:
                    self._add_group(ahead, last=False)
                ahead = group
            if ahead:
                self._add_group(ahead, last=True)
            else:
                self._divide()
            self._spent = True
        averages = {
            name: self._totals[key][at : at + _items(spec)].view(spec.shape)
            for name, (spec, key, at) in self._places.items()
        }
        return averages | self._integers

    def _divide(self) -> None:
        assert self._folded, "nothing was folded"
        for key, total in self._totals.items():
            _everywhere(total, partial(torch.Tensor.div_, other=self._weights[key]))

    def _add_group(self, group: Sequence[Incoming], *, last: bool) -> None:
        try:
            headers = [read_header(update.path) for update in group]
            if not self._folded:
                self._integers = _integers(group[0].path, headers[0])
            runs = [self._runs(header) for header in headers]
            if all(other == runs[0] for other in runs):  # always so among files that we wrote
                self._pass(group, headers, runs[0], last=last)
                return
            for update, header, own in zip(group, headers, runs, strict=True):
                self._pass([update], [header], own, last=last and update is group[-1])
        except BaseException:  # some blocks may have it, and others not
            self.reset()
            raise

    def _pass(self, group: Sequence[Incoming], headers: Sequence[Header], runs: Sequence[_Run], *, last: bool) -> None:
        """Fold updates whose tensors lie alike, all of the sum once; divide it where they are the last."""
        assert sum(run.items for run in runs) == sum(map(len, self._totals.values())), "an update lacks a tensor"
        files = [map_pages(update.path, header.size) for update, header in zip(group, headers, strict=True)]
        starts = [header.data_start for header in headers]
        clear = not self._folded
        for key in self._weights:
            for update in group:
                self._weights[key] += _counts(update, key)

        def window(run: _Run) -> None:
            weights = [_counts(update, run.total) for update in group]
            places = [start + run.start for start in starts]
            parts = [_part(file, place, run.items, run.dtype) for file, place in zip(files, places, strict=True)]
            total = self._totals[run.total][run.at : run.at + run.items]
            fold(total, parts, weights, clear=clear, divisor=self._weights[run.total] if last else None)
            del parts
            for file, place in zip(files, places, strict=True):
                let_go(file, place, run.items * DTYPES[run.dtype])

        windows = [part for run in runs for part in _windows(run)]
        for _ in pool().map(window, windows):
            pass
        self._folded += [(update.client, update.attempt) for update in group]

    def _runs(self, header: Header) -> list[_Run]:
        runs: list[_Run] = []
        for spec in header.tensors.values():
            if spec.dtype not in FLOATING or spec.start == spec.end:
                continue
            _, total, at = self._places[spec.name]
            last = runs[-1] if runs else None
            if last and _continues(last, spec, total, at):
                runs[-1] = _Run(total, last.dtype, last.at, last.start, last.items + _items(spec))
            else:
                runs.append(_Run(total, spec.dtype, at, spec.start, _items(spec)))
        return runs


def _continues(run: _Run, spec: TensorSpec, total: Sum, at: int) -> bool:
    return (run.total, run.dtype, run.at + run.items, run.start + run.items * DTYPES[run.dtype]) == (
        total,
        spec.dtype,
        at,
        spec.start,
    )


def _groups(updates: Iterable[Incoming]) -> Iterator[list[Incoming]]:
    left = iter(updates)
    while group := list(islice(left, GROUP_MAX)):
        yield group


def _windows(run: _Run) -> Iterator[_Run]:
    step = WINDOW_BYTES // DTYPES[run.dtype]
    for done in range(0, run.items, step):
        start = run.start + done * DTYPES[run.dtype]
        yield _Run(run.total, run.dtype, run.at + done, start, min(step, run.items - done))


@functools.cache
def pool() -> ThreadPoolExecutor:
    """Threads that fold windows, each by itself.

    Torch's own threads meet at the end of every block; where trainers keep the cores busy that waits for
    the scheduler each time: 100 MB took 150 ms instead of 15, and 8 updates of 1 MB 40 ms.
    """
    return ThreadPoolExecutor(cores(), "fold", initializer=torch.set_num_threads, initargs=(1,))


def _everywhere(total: torch.Tensor, act: Callable[[torch.Tensor], object]) -> None:
    """Apply `act` to all of a tensor, window by window, in the threads that fold."""
    for _ in pool().map(act, torch.split(total, WINDOW_BYTES // total.element_size())):
        pass


def cores() -> int:
    return min(THREADS_MAX, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _part(file: mmap.mmap, place: int, items: int, dtype: str) -> torch.Tensor:
    if place % DTYPES[dtype]:  # another writer's file may leave a tensor unaligned
        return torch.frombuffer(bytearray(file[place : place + items * DTYPES[dtype]]), dtype=TORCH_DTYPES[dtype])
    return torch.frombuffer(file, dtype=TORCH_DTYPES[dtype], count=items, offset=place)


def _integers(path: Path, header: Header) -> Tensors:
    whole = [name for name, spec in header.tensors.items() if spec.dtype not in FLOATING]
    mapped = map_file(path, header) if whole else {}
    return {name: mapped[name].clone() for name in whole}


def _items(spec: TensorSpec) -> int:
    return (spec.end - spec.start) // DTYPES[spec.dtype]


def _counts(update: Incoming, total: Sum) -> float:
    dtype, even = total
    return 1.0 if even else exact(update.weight, dtype)


def exact(weight: float, dtype: torch.dtype) -> float:
    """The weight as `add_` will use it, so that equal updates average to themselves within the bound."""
    return float(np.float32(weight)) if dtype == torch.float32 else float(weight)
