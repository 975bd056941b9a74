"""Rules that look at one coordinate of all updates at a time: median, trimmed mean, the values nearest to the median.

Coordinate median and trimmed mean: Yin, Chen, Kannan, Bartlett 2018, Byzantine-Robust Distributed Learning,
definitions 1 and 2. med: the middle value, the mean of the middle two where n is even. trmean_f: the mean of what
is left without the f least and the f greatest.

Each takes rows of one block, one for each update, which it may change, and gives (items,) float64, 0.0 for -0.0.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .geometry import Vector
from .sorting import sort_rows

Rows = Sequence[NDArray[Any]]


def median(rows: Rows) -> Vector:
    """The median of each coordinate."""
    low, high = (len(rows) - 1) // 2, len(rows) // 2
    sort_rows(rows, {low, high})
    return (rows[low].astype(np.float64) + rows[high]) / 2 + 0.0


def lower_median(rows: Rows) -> NDArray[Any]:
    """The middle value of each coordinate, the lower of two: for integers."""
    middle = (len(rows) - 1) // 2
    sort_rows(rows, {middle})
    return rows[middle]


def trimmed_mean(rows: Rows, f: int) -> Vector:
    """The mean of each coordinate without its f least and f greatest values."""
    kept = range(f, len(rows) - f)
    sort_rows(rows, set(kept))
    return _sum([rows[place] for place in kept]) / len(kept)


def mean_near_median(rows: Rows, count: int) -> Vector:
    """The mean of the `count` values nearest to the median of each coordinate; of equally near ones the lower."""
    sort_rows(rows, set(range(len(rows))))
    ordered = np.stack(rows).astype(np.float64)  # (n, items)
    n = len(ordered)
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    # The nearest lie side by side: the window moves up while what it gains is nearer than what it loses.
    start = np.zeros(ordered.shape[1], dtype=np.intp)
    for first in range(n - count):
        gains = ordered[first + count] - middle < middle - ordered[first]
        start += gains & (start == first)
    picked = start + np.arange(count)[:, None]  # (count, items)
    return _sum(np.take_along_axis(ordered, picked, axis=0)) / count


def _sum(rows: Collection[NDArray[Any]]) -> Vector:
    """In the order of the rows: sorted, so that the order of updates is no part of the result."""
    total: Vector | None = None
    for row in rows:
        total = row + np.float64(0.0) if total is None else np.add(total, row, out=total)
    assert total is not None
    return total
