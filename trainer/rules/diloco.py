"""DiLoCo, the inner steps: Douillard et al. 2023, Distributed Low-Communication Training, algorithm 1, lines 5 to 10.

theta_i <- InnerOpt(theta_i, grad)     for H steps from theta^(t-1); its moments go on from the client's last round

InnerOpt is the job's `train.optimizer` (AdamW in the paper), H `train.steps`. Its rate follows the inner steps of
the whole job, t = (round - 1) H + h from 0, as in the paper's setup (section 3):
    rate(t) = lr min(1, (t + 1) / warmup) (1 + cos(pi min(1, t / decay))) / 2         without either: lr
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from .rule import Given, Left, Rule

COUNT = "count"  # of the inner steps that the client's moments come from


def rate(t: int, lr: float, warmup: float, decay: float) -> float:
    """The inner rate at an inner step of the job; `warmup` and `decay` in steps, 0 for none."""
    risen = min(1.0, (t + 1) / warmup) if warmup else 1.0
    return lr * risen * ((1 + math.cos(math.pi * min(1.0, t / decay))) / 2 if decay else 1.0)


class DiLoCo(Rule):
    """Keeps the inner optimizer's state."""

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        options = given.spec.strategy.options
        self._warmup = float(options.get("warmup", 0))  # type: ignore[arg-type]
        self._decay = float(options.get("decay", 0))  # type: ignore[arg-type]
        self._t = (given.job_round - 1) * (given.spec.train.steps or 0)

    def take_up(self, optimizer: torch.optim.Optimizer) -> None:
        """Put the moments back."""
        self._optimizer = optimizer
        for key, tensor in self.given.state.items():
            kind, _, name = key.partition("/")
            if name in self.given.parameters:
                p = self.given.parameters[name]
                like = tensor if kind == "step" else tensor.to(p.device)  # torch keeps its count on the CPU
                optimizer.state[p][kind] = like.clone()

    def correct(self, again: Callable[[], None]) -> None:
        """The rate of this inner step."""
        if self._warmup or self._decay:
            for group in self._optimizer.param_groups:
                group["lr"] = rate(self._t, self.given.lr, self._warmup, self._decay)
        self._t += 1

    def end(self, steps: int) -> Left:
        """The moments, and how many steps they come from."""
        before = self.given.state.get(COUNT, torch.tensor(0))
        kept = {COUNT: before + steps}
        for name, p in self.given.parameters.items():
            for kind, value in self._optimizer.state.get(p, {}).items():
                if isinstance(value, torch.Tensor):
                    kept[f"{kind}/{name}"] = value
        return Left(state=kept)
