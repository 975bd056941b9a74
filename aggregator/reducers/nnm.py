"""Nearest-neighbour mixing: Allouah et al. 2023, Fixing by Mixing, algorithm 2.

y_i = the mean of the n - f vectors nearest to x_i, itself among them
"""

from __future__ import annotations

import numpy as np

from .geometry import Matrix


def mixing(distances: Matrix, f: int) -> Matrix:
    """M with y = M x, (n, n), from squared distances; of equally near ones the first."""
    n = len(distances)
    ordered = distances.copy()
    np.fill_diagonal(ordered, -1.0)  # itself first
    nearest = np.argsort(ordered, axis=1, kind="stable")[:, : n - f]
    mixed = np.zeros((n, n))
    np.put_along_axis(mixed, nearest, 1 / (n - f), axis=1)
    return mixed
