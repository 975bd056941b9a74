"""Folding updates into one weighted average: in place, in the order given, at the speed of memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from ..storage.rules import BESIDE
from ..storage.tensors import DTYPES, FLOATING, Header, TensorSpec, read_header
from ..storage.torch_tensors import TORCH_DTYPES, bytes_of
from . import kernel
from .blocks import add_blocks
from .layout import Layout
from .passes import one_pass, read_from
from .pieces import items_of
from .runs import BLOCK_ITEMS, Run, Sum, continues, window_items, windows
from .small import Small
from .threads import everywhere

GROUP_MAX = kernel.UPDATES_MAX  # of one pass
SMALL_ITEMS = 1 << 14  # so few are added sooner than other threads are told of them

Tensors = dict[str, torch.Tensor]


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
    for a float32 total. Where `kernel.load` was called, one loop reads them all. Else all that happens to a
    block of `total` happens while it is in cache: several updates in one pass, clearing it before and dividing
    it after; smaller blocks gain nothing, not even without Python's share of each call. The bits are the same.
    """
    dtypes = {update.dtype for update in updates}
    if len(dtypes) == 1 and len(updates) <= GROUP_MAX and kernel.takes(total.dtype, *dtypes):
        kernel.add(total, updates, weights, clear=clear, divisor=divisor)
        return
    # Where no block is gone over twice, smaller ones would only cost more turns at Python's lock.
    size = BLOCK_ITEMS if len(updates) > 1 or clear or divisor is not None else max(1, len(total))
    parts = [torch.split(update, size) for update in updates]
    add_blocks(total, size, lambda one, number: parts[one][number], weights, clear=clear, divisor=divisor)


@dataclass(frozen=True, slots=True)
class Incoming:
    """One update to fold: a file that was examined, and its weight."""

    client: str
    attempt: str
    source: Path | Small
    weight: float  # above 0


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
            sizes[total] = sizes.get(total, 0) + items_of(spec)
        if max(sizes.values(), default=0) >= kernel.ITEMS_MIN:
            kernel.load()
        # Not cleared here, nor by `reset`: the first updates do it, block by block.
        self._totals = {total: torch.empty(size, dtype=total[0]) for total, size in sizes.items()}
        self._weights = dict.fromkeys(sizes, 0.0)
        self._integers: Tensors = {}
        self._form: tuple[str, list[Run]] = ("", [])  # that was folded last
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
            name: self._totals[key][at : at + items_of(spec)].view(spec.shape)
            for name, (spec, key, at) in self._places.items()
        }
        return averages | self._integers

    def _divide(self) -> None:
        assert self._folded, "nothing was folded"
        for key, total in self._totals.items():
            parts = torch.split(total, window_items(len(total), total.element_size()))
            everywhere(partial(torch.Tensor.div_, other=self._weights[key]), parts)

    def _add_group(self, group: Sequence[Incoming], *, last: bool) -> None:
        try:
            headers = [header_of(update.source) for update in group]
            if not self._folded:
                self._integers = _integers(group[0].source, headers[0])
            runs = [self._runs(header) for header in headers]
            if all(other == runs[0] for other in runs):  # always so among files that we wrote
                self._pass(group, headers, runs[0], last=last)
                return
            for update, header, own in zip(group, headers, runs, strict=True):
                self._pass([update], [header], own, last=last and update is group[-1])
        except BaseException:  # some blocks may have it, and others not
            self.reset()
            raise

    def _pass(self, group: Sequence[Incoming], headers: Sequence[Header], runs: Sequence[Run], *, last: bool) -> None:
        """Fold updates whose tensors lie alike, all of the sum once; divide it where they are the last."""
        assert sum(run.items for run in runs) == sum(map(len, self._totals.values())), "an update lacks a tensor"
        clear = not self._folded
        for key in self._weights:
            for update in group:
                self._weights[key] += _counts(update, key)

        with one_pass([update.source for update in group], headers, runs) as add:

            def window(run: Run) -> None:
                weights = [_counts(update, run.total) for update in group]
                total = self._totals[run.total][run.at : run.at + run.items]
                add(run, total, weights, clear=clear, divisor=self._weights[run.total] if last else None)

            parts = [part for run in runs for part in windows(run)]
            if sum(run.items for run in runs) > SMALL_ITEMS:
                everywhere(window, parts)
            else:
                for part in parts:
                    window(part)
        self._folded += [(update.client, update.attempt) for update in group]

    def _runs(self, header: Header) -> list[Run]:
        """Of one form, found once: the updates of a round have one as a rule."""
        if not header.form or header.form != self._form[0]:
            self._form = (header.form, self._find_runs(header))
        return self._form[1]

    def _find_runs(self, header: Header) -> list[Run]:
        runs: list[Run] = []
        for spec in header.tensors.values():
            if spec.dtype not in FLOATING or spec.start == spec.end:
                continue
            _, total, at = self._places[spec.name]
            last = runs[-1] if runs else None
            if last and continues(last, spec, total, at):
                runs[-1] = Run(total, last.dtype, last.at, last.start, last.items + items_of(spec))
            else:
                runs.append(Run(total, spec.dtype, at, spec.start, items_of(spec)))
        return runs


def _groups(updates: Iterable[Incoming]) -> Iterator[list[Incoming]]:
    left = iter(updates)
    while group := list(islice(left, GROUP_MAX)):
        yield group


def header_of(source: Path | Small) -> Header:
    """Raises as `read_header`."""
    return source.header if isinstance(source, Small) else read_header(source)


def _integers(source: Path | Small, header: Header) -> Tensors:
    whole = [spec for spec in header.tensors.values() if spec.dtype not in FLOATING]
    found = {spec.name: torch.empty(spec.shape, dtype=TORCH_DTYPES[spec.dtype]) for spec in whole}
    if whole:
        with read_from(source) as file:
            for spec in whole:
                file.read_into(bytes_of(found[spec.name]), header.data_start + spec.start)
    return found


def _counts(update: Incoming, total: Sum) -> float:
    dtype, even = total
    return 1.0 if even else exact(update.weight, dtype)


def exact(weight: float, dtype: torch.dtype) -> float:
    """The weight as `add_` will use it, so that equal updates average to themselves within the bound."""
    return float(np.float32(weight)) if dtype == torch.float32 else float(weight)
