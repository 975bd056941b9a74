"""Geometric median (RFA): Pillutla, Kakade, Harchaoui 2022, Robust Aggregation for Federated Learning, algorithm 1.

z minimises sum_i alpha_i ||z - x_i||; smoothed Weiszfeld:
    beta_i = alpha_i / max(nu, ||z - x_i||)
    z      = sum_i beta_i x_i / sum_i beta_i                from z = sum_i alpha_i x_i

z is always a weighted mean of the x_i, so a step needs their inner products only.
"""

from __future__ import annotations

import numpy as np

from .geometry import Matrix, Vector, distances_from

ENOUGH = 1e-12  # of the median distance: z moved by no more, and further steps change float32 nothing


def geometric_median(gram: Matrix, alpha: Vector, nu: float, iterations: int) -> Vector:
    """The coefficients of z; they add up to 1.

    Args:
        gram: (n, n) float64 inner products of the vectors.
        alpha: (n,) weights, adding up to 1.
        nu: below this distance (of the whole vector) the objective is smoothed.
        iterations: at most so many steps.
    """
    coefficients = alpha
    for _ in range(iterations):
        distances = np.maximum(nu, np.sqrt(distances_from(gram, coefficients)))
        beta = alpha / distances
        before, coefficients = coefficients, beta / beta.sum()
        if np.abs(coefficients - before) @ distances <= ENOUGH * np.median(distances):
            break
    return coefficients
