"""FedSAM: Qu et al. 2022, Generalized Federated Learning via Sharpness Aware Minimization, algorithm 1.

w~ = w + rho g(w) / |g(w)|         g: the batch's gradient, |.| over all parameters
w <- w - eta g(w~)                 the same batch again

The job's local optimizer takes the step. Buffers, such as BatchNorm's statistics, are those of the first pass.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from .rule import Rule

TINY = 1e-12  # a gradient of 0 has no direction


class FedSam(Rule):
    """Takes each gradient where the loss is worst nearby."""

    @torch.no_grad()
    def correct(self, again: Callable[[], None]) -> None:
        """Climb to w~, take the gradient there, come back to exactly w."""
        parameters = [p for p in self.given.parameters.values() if p.grad is not None]
        here = [p.detach().clone() for p in parameters]
        buffers = [(b, b.detach().clone()) for b in self.given.model.buffers()]
        norm = torch.linalg.vector_norm(torch.stack([_norm(p) for p in parameters]))
        for p in parameters:
            p.add_(p.grad / (norm + TINY), alpha=self.given.spec.train.rho)
        with torch.enable_grad():
            again()
        for p, w in zip(parameters, here, strict=True):
            p.copy_(w)
        for buffer, first in buffers:
            buffer.copy_(first)


def _norm(parameter: torch.Tensor) -> torch.Tensor:
    assert parameter.grad is not None
    norm: torch.Tensor = torch.linalg.vector_norm(parameter.grad)
    return norm
