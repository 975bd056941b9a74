"""FedNova, the server: Wang et al. 2020, Tackling the Objective Inconsistency Problem, equations 6 and 7.

x+ = x - tau_eff sum_i p_i d_i,     d_i = (x - y_i) / |a_i|_1,     tau_eff = sum_i p_i |a_i|_1

Updates are folded with the weights p_i / |a_i|_1 (see `counted`), so that with y their average
sum_i p_i d_i = (x - y) sum_i p_i / |a_i|_1. Where all |a_i|_1 are equal the step is 1: FedAvg, to rounding.
`lr` is a further factor of the step. |a_i|_1 is what the client says of its own steps.
"""

from __future__ import annotations

import torch

from .average import Average, Options, Tensors


def init(weights: Tensors, options: Options) -> Tensors:
    """No state."""
    return {}


def apply(
    state: Tensors, weights: Tensors, average: Average, options: Options, round_number: int
) -> tuple[Tensors, Tensors]:
    """One step of tau_eff sum_i p_i / |a_i|_1 towards the average."""
    total = sum(one.share for one in average.counted)
    tau_eff = sum(one.share / total * one.terms["a"] for one in average.counted)
    step = float(options["lr"]) * tau_eff * sum(one.nova / total for one in average.counted)  # type: ignore[arg-type]
    return state, {name: torch.add(x, average.update(name, x), alpha=step) for name, x in weights.items()}
