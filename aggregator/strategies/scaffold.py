"""SCAFFOLD, the server: Karimireddy et al. 2020, Stochastic Controlled Averaging, algorithm 1, lines 16 and 17.

x <- x + eta_g / |S| sum_(i in S) (y_i - x)
c <- c + 1 / N       sum_(i in S) (c_i+ - c_i)      N: all clients of the job, |S| those of the round; c = 0 at first

So c stays the mean of all c_i, also of those that were not asked. The client's half is
`trainer/rules/scaffold.py`. `lr` is eta_g.
"""

from __future__ import annotations

import torch

from .average import Average, Options, Tensors


def init(weights: Tensors, options: Options) -> Tensors:
    """c = 0."""
    return {f"c/{name}": torch.zeros_like(w) for name, w in weights.items()}


def apply(
    state: Tensors, weights: Tensors, average: Average, options: Options, round_number: int
) -> tuple[Tensors, Tensors]:
    """One step of eta_g towards the average, and the mean control."""
    eta_g = float(options["lr"])  # type: ignore[arg-type]
    share = len(average.counted) / average.clients  # |S| / N
    new: Tensors = {}
    for name, x in weights.items():
        new[name] = average.weights(name, x) if eta_g == 1 else torch.add(x, average.update(name, x), alpha=eta_g)
        state[f"c/{name}"].add_(average.beside["dc"][name], alpha=share)
    return state, new
