"""q-FedAvg, the client: Li et al. 2020, Fair Resource Allocation in Federated Learning, algorithm 2.

Says F_k(w^t), the mean loss over its training examples at the start, and |w^t - w_k|^2 over the trained
parameters. What becomes of them stands in `aggregator/strategies/qfedavg.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from .rule import Given, Left, Rule


class QFedAvg(Rule):
    """Says two numbers; training is plain."""

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        self._loss = 0.0

    def begin(self, loss: Callable[[], float]) -> None:
        """F_k(w^t)."""
        self._loss = loss()

    @torch.no_grad()
    def end(self, steps: int) -> Left:
        """In float64: a sum over all parameters."""
        given = self.given
        parts = [(given.start[name].to(p.device).double() - p).square().sum() for name, p in given.parameters.items()]
        return Left(terms={"loss": self._loss, "distance": float(torch.stack(parts).sum())})
