"""Krum and Multi-Krum: Blanchard, El Mhamdi, Guerraoui, Stainer 2017, Machine Learning with Adversaries, section 4.

s(i) = sum over the n - f - 2 vectors x_j nearest to x_i, j != i, of ||x_i - x_j||^2
Krum(x_1..x_n) = x_i with the least s(i); Multi-Krum: the mean of the m with the least

Where n >= 2f + 3, the chosen one is honest if every attacker is farther from every honest one than
sqrt((n - f - 2) / (n - 2f - 1)) times the greatest distance between two honest ones.
"""

from __future__ import annotations

import numpy as np

from .geometry import Matrix, Vector


def scores(distances: Matrix, f: int) -> Vector:
    """s(i) of each of n vectors.

    Args:
        distances: (n, n) float64, squared; the diagonal is not looked at.
        f: attackers. One neighbour at least is counted, where n < f + 3 (Bulyan's last picks) leaves fewer.
    """
    n = len(distances)
    if n == 1:
        return np.zeros(1)
    others = distances[~np.eye(n, dtype=bool)].reshape(n, n - 1)
    nearest: Vector = np.sort(others, axis=1)[:, : max(1, n - f - 2)]
    return nearest.sum(axis=1)  # type: ignore[no-any-return]


def best(distances: Matrix, f: int, count: int) -> list[int]:
    """The `count` of least score, in their own order; of equals the first."""
    order = np.argsort(scores(distances, f), kind="stable")
    return sorted(int(index) for index in order[:count])


def krum(distances: Matrix, f: int) -> Vector:
    """The coefficient of each vector in the result: 1 for one of them."""
    return multi_krum(distances, f, 1)


def multi_krum(distances: Matrix, f: int, m: int) -> Vector:
    """1/m for the m of least score. Bounds of Multi-Krum: m <= n - f - 2 (El Mhamdi et al. 2018)."""
    coefficients = np.zeros(len(distances))
    coefficients[best(distances, f, m)] = 1 / m
    return coefficients
