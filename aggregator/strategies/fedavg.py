"""FedAvg and FedSGD: McMahan et al. 2017, Communication-Efficient Learning of Deep Networks, algorithm 1.

w_(t+1) = sum_k (n_k / n) w_k                   weights, deltas: the average itself
w_(t+1) = w_t - eta sum_k (n_k / n) g_k         gradients (section 2, FederatedSGD)
"""

from __future__ import annotations

from .average import Average, Options, Tensors

replaces = True  # of averaged weights: what `apply` is then given as the weights before is not looked at


def init(weights: Tensors, options: Options) -> Tensors:
    """No state."""
    return {}


def apply(
    state: Tensors, weights: Tensors, average: Average, options: Options, round_number: int
) -> tuple[Tensors, Tensors]:
    """One step of 1 to the average; for gradients a step of `lr`."""
    if average.kind == "gradients":
        eta = float(options["lr"])  # type: ignore[arg-type]
        return state, {name: average.values[name].mul_(-eta).add_(w) for name, w in weights.items()}
    return state, {name: average.weights(name, w) for name, w in weights.items()}
