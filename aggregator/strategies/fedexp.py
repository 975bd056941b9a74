"""FedExP: Jhunjhunwala, Wang, Joshi 2023, Speeding Up Federated Averaging via Extrapolation, algorithm 1.

eta_g   = max(1, sum_i p_i ||Delta_i||^2 / (2 (||Delta||^2 + epsilon)))        p_i = 1/M there
w_(t+1) = w_t - eta_g Delta                Delta = sum_i p_i Delta_i,   Delta_i = w_t - w_i

The norms are the aggregator's own, of what it read: no client says them.
"""

from __future__ import annotations

import torch

from .average import Average, Options, Tensors

needs_squares = True


def init(weights: Tensors, options: Options) -> Tensors:
    """No state."""
    return {}


def apply(
    state: Tensors, weights: Tensors, average: Average, options: Options, round_number: int
) -> tuple[Tensors, Tensors]:
    """One step of eta_g along the average."""
    assert average.squares is not None
    total = sum(one.share for one in average.counted)
    mean = sum(one.share / total * square for one, square in zip(average.counted, average.squares.each, strict=True))
    epsilon = float(options["epsilon"])  # type: ignore[arg-type]
    eta_g = max(1.0, mean / (2 * (average.squares.mean + epsilon)))
    return state, {name: torch.add(w, average.update(name, w), alpha=eta_g) for name, w in weights.items()}
