"""Distances between vectors, and between their mixtures, from inner products alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]


def squared_distances(gram: Matrix) -> Matrix:
    """||x_i - x_j||^2, (n, n), from inner products; never below 0, exactly symmetric, 0 on the diagonal."""
    lengths = gram.diagonal()
    distances: Matrix = np.maximum(0.0, lengths[:, None] + lengths[None, :] - (gram + gram.T))
    np.fill_diagonal(distances, 0.0)
    return distances


def distances_from(gram: Matrix, coefficients: Vector) -> Vector:
    """||x_i - v||^2 for v = sum_i c_i x_i, (n,)."""
    along = gram @ coefficients
    found: Vector = np.maximum(0.0, gram.diagonal() - 2 * along + coefficients @ along)
    return found
