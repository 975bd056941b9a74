"""Warren's fold of updates in memory: COUNT DISTINCT ITEMS REPEATS GROUP, where GROUP updates go in one pass.

As `aggregator.fold.Fold` does it (windows in its pool of threads, the sum's memory reused), less the files.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

import folded
import numpy as np
import torch

from warren.aggregator import kernel
from warren.aggregator.fold import fold
from warren.aggregator.runs import window_items
from warren.aggregator.threads import everywhere

GROUP = int(sys.argv[5])
TOTALS: list[torch.Tensor] = []


def average(given: list[folded.Update], examples: Sequence[int]) -> list[np.ndarray]:
    if not TOTALS:
        TOTALS.extend(torch.empty(len(layer)) for layer in given[0])
    updates = [[torch.from_numpy(layer) for layer in update] for update in given]
    step = window_items(sum(map(len, TOTALS)), 4)  # the layers of a file are one run
    windows = [(layer, start) for layer in range(len(TOTALS)) for start in range(0, len(TOTALS[layer]), step)]
    weights = [float(number) for number in examples]

    def window(first: int, place: tuple[int, int]) -> None:
        layer, start = place
        group = slice(first, first + GROUP)
        parts = [update[layer][start : start + step] for update in updates[group]]
        divisor = sum(weights) if first + GROUP >= len(updates) else None
        fold(TOTALS[layer][start : start + step], parts, weights[group], clear=first == 0, divisor=divisor)

    for first in range(0, len(given), GROUP):  # as in a round: a pass ends before the next begins
        everywhere(partial(window, first), windows)
    return [total.numpy() for total in TOTALS]


kernel.load()  # as `Fold` does for such a model
folded.run(average)
