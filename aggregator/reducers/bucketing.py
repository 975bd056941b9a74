"""Bucketing: Karimireddy, He, Jaggi 2022, Byzantine-Robust Learning on Heterogeneous Datasets, algorithm 1.

pi: a random permutation; y_i = the mean of x_pi(s(i-1)+1) .. x_pi(min(n, s i)), i = 1 .. ceil(n / s)
"""

from __future__ import annotations

import random

import numpy as np

from .geometry import Matrix


def mixing(n: int, s: int, chance: random.Random) -> Matrix:
    """M with y = M x, (ceil(n/s), n)."""
    order = list(range(n))
    chance.shuffle(order)
    mixed = np.zeros((-(-n // s), n))
    for row, start in enumerate(range(0, n, s)):
        bucket = order[start : start + s]
        mixed[row, bucket] = 1 / len(bucket)
    return mixed
