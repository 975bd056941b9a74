"""The machine's read-add-write rate: each update added to the sum in place, no weights. ... REPEATS torch|slices|read

`torch` with the threads of torch's own, `slices` with numpy in one thread a core, each at its part of the sum; `read`
is no fold: the items of each update are summed up, in one thread a core.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import folded
import numpy as np

WAY = sys.argv[5]
CORES = len(os.sched_getaffinity(0))
TOTALS: list[np.ndarray] = []
POOL = ThreadPoolExecutor(CORES)


def added(given: list[folded.Update], examples: Sequence[int]) -> list[np.ndarray]:
    if not TOTALS:
        TOTALS.extend(np.zeros_like(layer) for layer in given[0])
    for update in given:
        if WAY == "read":
            list(POOL.map(_summed, [(update, number) for number in range(CORES)]))
        elif WAY == "torch":
            for total, layer in zip(TOTALS, update, strict=True):
                torch.from_numpy(total).add_(torch.from_numpy(layer))
        else:
            list(POOL.map(_part, [(update, number) for number in range(CORES)]))
    return TOTALS


def _part(place: tuple[folded.Update, int]) -> None:
    update, number = place
    for total, layer in zip(TOTALS, update, strict=True):
        part = _slice(len(total), number)
        np.add(total[part], layer[part], out=total[part])


def _summed(place: tuple[folded.Update, int]) -> None:
    update, number = place
    for layer in update:
        torch.from_numpy(layer[_slice(len(layer), number)]).sum()


def _slice(items: int, number: int) -> slice:
    step = -(-items // CORES)
    return slice(number * step, (number + 1) * step)


if WAY != "slices":
    import torch
if WAY == "read":
    torch.set_num_threads(1)

folded.run(added)
