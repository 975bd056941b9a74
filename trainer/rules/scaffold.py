"""SCAFFOLD, the client: Karimireddy et al. 2020, Stochastic Controlled Averaging, algorithm 1, option II.

y_i   <- y_i - eta_l (g_i(y_i) - c_i + c)             lines 10, from y_i = x; K times
c_i+   = c_i - c + (x - y_i) / (K eta_l)              line 12 (ii)
sends    (y_i, dc_i = c_i+ - c_i),   keeps c_i+       lines 13, 14

c_i and c are 0 at first. The server's half is `aggregator/strategies/scaffold.py`. Plain SGD at one rate within
the round, or c_i+ would be no mean of gradients: `checking` sees to it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from .rule import Given, Left, Rule, of_group


class Scaffold(Rule):
    """Keeps c_i, is given c, sends dc_i."""

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        self._c_i = of_group(given.state, "c", given.parameters)
        self._c = of_group(given.server, "c", given.parameters)

    def correct(self, again: Callable[[], None]) -> None:
        """g_i - c_i + c."""
        for name, y in self.given.parameters.items():
            if y.grad is None:  # a parameter that the loss did not reach has the gradient 0
                y.grad = torch.zeros_like(y)
            y.grad.sub_(self._c_i[name]).add_(self._c[name])

    @torch.no_grad()
    def end(self, steps: int) -> Left:
        """dc_i, and c_i+."""
        dc, kept = {}, {}
        for name, y in self.given.parameters.items():
            x = self.given.start[name].to(y.device)
            dc[name] = (x - y).div_(max(1, steps) * self.given.lr).sub_(self._c[name])
            kept[f"c/{name}"] = self._c_i[name] + dc[name]
        return Left({"dc": dc}, kept)
