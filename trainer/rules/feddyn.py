"""FedDyn, the client: Acar et al. 2021, Federated Learning Based on Dynamic Regularization, algorithm 1.

theta_k^t = argmin  L_k(theta) - <grad_k^(t-1), theta> + alpha/2 |theta - theta^(t-1)|^2
grad_k^t  = grad_k^(t-1) - alpha (theta_k^t - theta^(t-1))             grad_k^0 = 0; a client not asked keeps its own

The minimum is sought by the job's epochs or steps of its local optimizer. The server's half is
`aggregator/strategies/feddyn.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ...storage.rules import feddyn_alpha
from .rule import Given, Left, Rule, of_group


class FedDyn(Rule):
    """Keeps grad_k."""

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        self._alpha = feddyn_alpha(given.spec)
        self._grad_k = of_group(given.state, "g", given.parameters)
        self._start = {name: given.start[name].to(p.device) for name, p in given.parameters.items()}

    @torch.no_grad()
    def correct(self, again: Callable[[], None]) -> None:
        """Add the gradient of the two further terms: - grad_k + alpha (theta - theta^(t-1))."""
        for name, theta in self.given.parameters.items():
            if theta.grad is None:
                theta.grad = torch.zeros_like(theta)
            theta.grad.sub_(self._grad_k[name]).add_(theta - self._start[name], alpha=self._alpha)

    @torch.no_grad()
    def end(self, steps: int) -> Left:
        """grad_k^t."""
        kept = {}
        for name, theta in self.given.parameters.items():
            kept[f"g/{name}"] = torch.sub(self._grad_k[name], theta - self._start[name], alpha=self._alpha)
        return Left(state=kept)
