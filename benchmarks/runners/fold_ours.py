"""Warren's fold of updates in memory: COUNT DISTINCT ITEMS REPEATS GROUP, where GROUP updates go in one pass.

As `aggregator.fold.Fold` does it (windows in its pool of threads, the sum's memory reused), less the files.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import folded
import numpy as np
import torch

from warren.aggregator.fold import WINDOW_BYTES, fold, pool

GROUP = int(sys.argv[5])
TOTALS: list[torch.Tensor] = []


def average(given: list[folded.Update], examples: Sequence[int]) -> list[np.ndarray]:
    if not TOTALS:
        TOTALS.extend(torch.zeros(len(layer)) for layer in given[0])
    updates = [[torch.from_numpy(layer) for layer in update] for update in given]
    step = WINDOW_BYTES // (4 * GROUP)
    windows = [
        (layer, start, group)
        for group in range(0, len(given), GROUP)
        for layer in range(len(TOTALS))
        for start in range(0, len(TOTALS[layer]), step)
    ]

    def zero(total: torch.Tensor) -> None:
        total.zero_()

    def window(place: tuple[int, int, int]) -> None:
        layer, start, group = place
        parts = [update[layer][start : start + step] for update in updates[group : group + GROUP]]
        fold(TOTALS[layer][start : start + step], parts, [float(n) for n in examples[group : group + GROUP]])

    def divide(total: torch.Tensor) -> None:
        total.div_(sum(examples))

    list(pool().map(zero, TOTALS))
    for group in range(0, len(given), GROUP):  # as in a round: a pass ends before the next begins
        list(pool().map(window, [place for place in windows if place[2] == group]))
    list(pool().map(divide, TOTALS))
    return [total.numpy() for total in TOTALS]


folded.run(average)
