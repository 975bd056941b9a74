"""Norm clipping: Sun, Kairouz, Suresh, McMahan 2019, Can You Really Backdoor Federated Learning?, section 3.

D = sum_i p_i x_i min(1, tau / ||x_i||)
"""

from __future__ import annotations

import numpy as np

from .geometry import Matrix, Vector


def norm_clipping(gram: Matrix, p: Vector, tau: float | None) -> Vector:
    """The coefficients of D. `tau`: None for the median of the norms."""
    return p * shortening(np.sqrt(np.maximum(0.0, gram.diagonal())), tau)


def shortening(lengths: Vector, tau: float | None) -> Vector:
    """min(1, tau / length) of each."""
    radius = float(np.median(lengths)) if tau is None else tau
    shortened: Vector = radius / np.maximum(lengths, max(radius, np.finfo(np.float64).tiny))
    return shortened
