"""The machine's read-add-write rate: each update added to the sum in place, no weights. ... REPEATS torch|slices

`torch` with the threads of torch's own, `slices` with numpy in one thread a core, each at its part of the sum.
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
        if WAY == "torch":
            for total, layer in zip(TOTALS, update, strict=True):
                torch.from_numpy(total).add_(torch.from_numpy(layer))
        else:
            list(POOL.map(_part, [(update, number) for number in range(CORES)]))
    return TOTALS


def _part(place: tuple[folded.Update, int]) -> None:
    update, number = place
    for total, layer in zip(TOTALS, update, strict=True):
        step = -(-len(total) // CORES)
        part = slice(number * step, (number + 1) * step)
        np.add(total[part], layer[part], out=total[part])


if WAY == "torch":
    import torch

folded.run(added)
