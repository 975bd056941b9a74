"""DiLoCo, the outer step: Douillard et al. 2023, Distributed Low-Communication Training, algorithm 1, line 14.

Delta^t = 1/k sum_i (theta^(t-1) - theta_i^t)          the outer gradient
v^t     = mu v^(t-1) + Delta^t                         v^0 = 0
theta^t = theta^(t-1) - eta (Delta^t + mu v^t)         Nesterov (Sutskever et al. 2013, as torch.optim.SGD)

eta = 0.7, mu = 0.9 as in the paper. The inner optimizer is the clients', `trainer/rules/diloco.py`.
"""

from __future__ import annotations

import torch

from .average import Average, Options, Tensors


def init(weights: Tensors, options: Options) -> Tensors:
    """v = 0."""
    return {f"v/{name}": torch.zeros_like(w) for name, w in weights.items()}


def apply(
    state: Tensors, weights: Tensors, average: Average, options: Options, round_number: int
) -> tuple[Tensors, Tensors]:
    """One outer step."""
    eta, mu = float(options["lr"]), float(options["momentum"])  # type: ignore[arg-type]
    new: Tensors = {}
    for name, theta in weights.items():
        delta = average.gradient(name, theta)
        v = state[f"v/{name}"].mul_(mu).add_(delta)
        new[name] = torch.add(theta, delta.add_(v, alpha=mu), alpha=-eta)
    return state, new
