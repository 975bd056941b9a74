"""Centered clipping: Karimireddy, He, Jaggi 2021, Learning from History for Byzantine Robust Optimization, eq. 6.

v_(l+1) = v_l + sum_i p_i (x_i - v_l) min(1, tau / ||x_i - v_l||)

p_i = 1/n. v_0 is the model that the round started from (a change of 0), where the paper goes on from the result
of the round before.
"""

from __future__ import annotations

import numpy as np

from .geometry import Matrix, Vector, distances_from
from .norm_clipping import shortening


def centered_clipping(gram: Matrix, p: Vector, tau: float | None, iterations: int) -> Vector:
    """The coefficients of v; what they lack of 1 is the centre's own.

    Args:
        gram: (n, n) float64 inner products of the changes x_i.
        p: (n,) weights, adding up to 1.
        tau: the radius; None: at each step the median of the distances from v.
        iterations: steps.
    """
    coefficients = np.zeros(len(gram))
    for _ in range(iterations):
        pull = p * shortening(np.sqrt(distances_from(gram, coefficients)), tau)
        coefficients = coefficients * (1 - pull.sum()) + pull
    return coefficients
