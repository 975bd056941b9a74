"""Bulyan: El Mhamdi, Guerraoui, Rouault 2018, The Hidden Vulnerability of Distributed Learning, section 4.

1. theta = n - 2f vectors are chosen: by Krum, again and again, each time without those chosen before.
2. Coordinate by coordinate: the mean of the beta = theta - 2f values nearest to the median of the chosen.

n >= 4f + 3. Late picks of step 1 are made among fewer than 2f + 3, as in the paper.
"""

from __future__ import annotations

import numpy as np

from .geometry import Matrix
from .krum import best


def choose(distances: Matrix, f: int) -> list[int]:
    """Step 1: theta of n vectors, from their squared distances (n, n)."""
    left = list(range(len(distances)))
    chosen = []
    for _ in range(len(distances) - 2 * f):
        (place,) = best(distances[np.ix_(left, left)], f, 1)
        chosen.append(left.pop(place))
    return sorted(chosen)
