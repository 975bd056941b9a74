"""FedYogi: Reddi et al. 2021, Adaptive Federated Optimization, algorithm 2.

m_t = b1 m_(t-1) + (1 - b1) D_t                 D_t: average update (w_avg - w); m_0 = 0
v_t = v_(t-1) - (1 - b2) D_t^2 sign(v_(t-1) - D_t^2)    v_0 = tau^2
w_t = w_(t-1) + eta m_t / (sqrt(v_t) + tau)     no bias correction
"""

from __future__ import annotations

import torch

from .average import Average, Options, Tensors
from .fedadam import init

__all__ = ["apply", "init"]


def apply(
    state: Tensors, weights: Tensors, average: Average, options: Options, round_number: int
) -> tuple[Tensors, Tensors]:
    """One adaptive step along the average update, v moving by no more than D^2."""
    eta, b1, b2, tau = (float(options[key]) for key in ("lr", "beta1", "beta2", "tau"))  # type: ignore[arg-type]
    new: Tensors = {}
    for name, w in weights.items():
        d = average.update(name, w)
        m = state[f"m/{name}"].mul_(b1).add_(d, alpha=1 - b1)
        v = state[f"v/{name}"]
        square = d.mul_(d)  # D itself is used up
        v.addcmul_(square, torch.sign(v - square), value=-(1 - b2))
        new[name] = torch.div(m, v.sqrt().add_(tau), out=d).mul_(eta).add_(w)
    return state, new
