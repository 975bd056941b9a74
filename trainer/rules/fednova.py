"""FedNova, the client: Wang et al. 2020, Tackling the Objective Inconsistency Problem, sections 3 and 4.

x - y_i = eta sum_k a_i[k] g_i(y_i^k):   a_i[k] says how much the gradient of step k counts in the end.
    SGD                     a_i = [1, ..., 1]                                     |a_i|_1 = tau_i
    momentum rho            a_i[k] = (1 - rho^(tau_i - k)) / (1 - rho)            k = 0 ... tau_i - 1
    proximal term mu        a_i[k] = (1 - eta mu)^(tau_i - 1 - k)

All a_i[k] are linear in the gradients, so that their sum is what tau_i gradients of 1 give: one recursion that
holds for each of the three and for momentum with the proximal term. The update itself is sent as it is; the
server, `aggregator/strategies/fednova.py`, divides by |a_i|_1.
"""

from __future__ import annotations

from .rule import Left, Rule


def norm_of_a(steps: int, momentum: float, eta_mu: float) -> float:
    """|a_i|_1 after so many steps of torch's SGD; all a_i[k] are above 0 for eta mu below 1 without momentum."""
    moved, velocity = 0.0, 0.0
    for _ in range(steps):
        velocity = momentum * velocity + 1.0 - eta_mu * moved
        moved += velocity
    return moved


class FedNova(Rule):
    """Says |a_i|_1."""

    def end(self, steps: int) -> Left:
        """The norm, from the steps that were taken."""
        train = self.given.spec.train
        return Left(terms={"a": norm_of_a(max(1, steps), train.momentum, self.given.lr * train.mu)})
