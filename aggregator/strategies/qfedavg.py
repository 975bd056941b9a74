"""q-FedAvg, the server: Li et al. 2020, Fair Resource Allocation in Federated Learning, algorithm 2.

dw_k = L (w^t - w_k),     D_k = F_k^q dw_k,     h_k = q F_k^(q-1) |dw_k|^2 + L F_k^q
w^(t+1) = w^t - sum_k D_k / sum_k h_k

F_k is the client's loss at w^t; each term counts by the update's share p_k, as in the objective
sum_k p_k / (q+1) F_k^(q+1). Updates are folded with the weights p_k F_k^q (see `counted`). `lipschitz` is L,
1 / train.lr unless it is given; q = 0 is FedAvg. F_k and |w^t - w_k|^2 are what the client says.
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
    """One step of L sum_k p_k F_k^q / sum_k h_k towards the average."""
    q, lipschitz = float(options["q"]), float(options["lipschitz"])  # type: ignore[arg-type]
    folded = [one.fair(q) for one in average.counted]
    h = [
        q * one.fair(q - 1) * lipschitz**2 * one.terms["distance"] + lipschitz * weight
        for one, weight in zip(average.counted, folded, strict=True)
    ]
    step = lipschitz * sum(folded) / sum(h)
    return state, {name: torch.add(w, average.update(name, w), alpha=step) for name, w in weights.items()}
