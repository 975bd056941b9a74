"""FedAvgM: Hsu, Qi, Brown 2019, Measuring the Effects of Non-Identical Data Distribution, section 4.3.

v_t = b v_(t-1) + (w_(t-1) - w_avg)             v_0 = 0
w_t = w_(t-1) - eta v_t                         plain
w_t = w_(t-1) - eta ((w_(t-1) - w_avg) + b v_t)     Nesterov (Sutskever et al. 2013, as torch.optim.SGD)
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
    """One step along the momentum of the pseudo-gradient."""
    eta, b = float(options["lr"]), float(options["momentum"])  # type: ignore[arg-type]
    new: Tensors = {}
    for name, w in weights.items():
        g = average.gradient(name, w)
        v = state[f"v/{name}"].mul_(b).add_(g)
        step = g.add_(v, alpha=b) if options["nesterov"] else v
        new[name] = torch.add(w, step, alpha=-eta, out=g)
    return state, new
