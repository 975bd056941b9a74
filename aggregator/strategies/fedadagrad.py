"""FedAdagrad: Reddi et al. 2021, Adaptive Federated Optimization, algorithm 2 with b1 = 0.

v_t = v_(t-1) + D_t^2                           D_t: average update (w_avg - w); v_0 = tau^2
w_t = w_(t-1) + eta D_t / (sqrt(v_t) + tau)
"""

from __future__ import annotations

import torch

from .average import Average, Options, Tensors


def init(weights: Tensors, options: Options) -> Tensors:
    """v = tau^2."""
    tau = float(options["tau"])  # type: ignore[arg-type]
    return {f"v/{name}": torch.full_like(w, tau * tau) for name, w in weights.items()}


def apply(
    state: Tensors, weights: Tensors, average: Average, options: Options, round_number: int
) -> tuple[Tensors, Tensors]:
    """One adaptive step along the average update."""
    eta, tau = float(options["lr"]), float(options["tau"])  # type: ignore[arg-type]
    new: Tensors = {}
    for name, w in weights.items():
        d = average.update(name, w)
        v = state[f"v/{name}"].addcmul_(d, d)
        new[name] = d.div_(v.sqrt().add_(tau)).mul_(eta).add_(w)
    return state, new
