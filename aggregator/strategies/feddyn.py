"""FedDyn, the server: Acar et al. 2021, Federated Learning Based on Dynamic Regularization, algorithm 1.

h^t     = h^(t-1) - alpha / m sum_(k in P_t) (theta_k^t - theta^(t-1))      m: all clients of the job; h^0 = 0
theta^t = 1 / |P_t| sum_(k in P_t) theta_k^t  -  h^t / alpha

The client's half is `trainer/rules/feddyn.py`.
"""

from __future__ import annotations

import torch

from .average import Average, Options, Tensors


def init(weights: Tensors, options: Options) -> Tensors:
    """h = 0."""
    return {f"h/{name}": torch.zeros_like(w) for name, w in weights.items()}


def apply(
    state: Tensors, weights: Tensors, average: Average, options: Options, round_number: int
) -> tuple[Tensors, Tensors]:
    """The average less h / alpha."""
    alpha = float(options["alpha"])  # type: ignore[arg-type]
    share = len(average.counted) / average.clients  # |P_t| / m
    new: Tensors = {}
    for name, theta in weights.items():
        update = average.update(name, theta)
        h = state[f"h/{name}"].sub_(update, alpha=alpha * share)
        new[name] = update.add_(theta).sub_(h, alpha=1 / alpha)
    return state, new
