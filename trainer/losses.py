"""The loss: the task's own, or cross-entropy for integer targets and the squared error for floating ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from .errors import NonFiniteLoss, TaskError

Loss = Callable[[Any, Any], torch.Tensor]
CHECK_EVERY_BATCHES = 50  # on a GPU a look at the loss waits for it; on a CPU each is looked at


def default_loss(output: Any, target: Any) -> torch.Tensor:
    """The mean over the batch. Raises TaskError where output and target do not fit together."""
    if not isinstance(output, torch.Tensor) or not isinstance(target, torch.Tensor):
        kinds = f"{type(output).__name__} and {type(target).__name__}"
        raise TaskError(f"without a loss(output, target) in the task, both must be tensors; got {kinds}")
    if not target.is_floating_point():
        return functional.cross_entropy(output, target.long())
    if output.shape != target.shape:
        shapes = f"output {tuple(output.shape)} and target {tuple(target.shape)}"
        raise TaskError(f"the squared error needs equal shapes: {shapes}; give the task a loss(output, target)")
    return functional.mse_loss(output, target)


def checked_loss(loss: Loss) -> Loss:
    """The task's own loss, its answer checked to be one number."""

    def checked(output: Any, target: Any) -> torch.Tensor:
        value = loss(output, target)
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            got = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
            raise TaskError(f"loss(output, target) must return a tensor of one number, the mean; got {got}")
        return value.reshape(())

    return checked


class LossTally:
    """The mean loss over examples, and the watch that it stays finite.

    On a CPU the sum is a Python float: the same float64 arithmetic, without four small tensors a batch.
    """

    def __init__(self) -> None:
        self._total: torch.Tensor | float = 0.0
        self._batches = 0
        self.examples = 0

    def add(self, loss: torch.Tensor, count: int) -> None:
        """Count a batch's mean loss. Raises NonFiniteLoss."""
        here = loss.device.type == "cpu"
        self._total = self._total + (loss.item() if here else loss.detach().double()) * count
        self._batches += 1
        self.examples += count
        if here or self._batches % CHECK_EVERY_BATCHES == 0:
            self._check()

    def mean(self) -> float:
        """The mean over all examples counted. Raises NonFiniteLoss."""
        self._check()
        return float(self._total) / self.examples if self.examples else 0.0

    def _check(self) -> None:
        if not math.isfinite(self._total):
            total = float(self._total)
            raise NonFiniteLoss(f"the loss is {total} by batch {self._batches}: lower [train] lr, or set clip")
