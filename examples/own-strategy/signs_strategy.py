"""Signum on the server: Bernstein et al. 2018, signSGD, algorithm 2, with the average update for the gradient.

m_t = b m_(t-1) + (1 - b) D_t          D_t: the average update, w_avg - w; m_0 = 0
w_t = w_(t-1) + eta sign(m_t)
"""

import torch

elementwise = True  # each item's step looks at that item alone: models larger than memory may pass in parts


def init(weights, options):
    """The state before round 1: tensors by name, `<what>/<parameter>`; a resumed job finds them as they were."""
    return {f"m/{name}": torch.zeros_like(w) for name, w in weights.items()}


def apply(state, weights, average, options, round_number):
    """The state after the round, and the new weights. `options`: whatever else the job's [strategy] says."""
    eta, b = options.get("lr", 0.01), options.get("momentum", 0.9)
    new = {}
    for name, w in weights.items():
        m = state[f"m/{name}"].mul_(b).add_(average.update(name, w), alpha=1 - b)
        new[name] = w + eta * torch.sign(m)
    return state, new
