"""Evaluation of a model on some examples: no I/O. Sums and counts, so that uneven batches weigh right."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from .batches import Batch, Batches, length
from .errors import TaskError
from .local import Learned, Setting

Metrics = Callable[[Any, Any], Mapping[str, Any]]


def evaluate(
    model: nn.Module,
    dataset: Dataset[Any],
    setting: Setting,
    *,
    batch_size: int,
    metrics: Metrics | None = None,
) -> Learned:
    """Means over all examples: the loss, and the metrics.

    Args:
        metrics: the task's `metrics(outputs, targets)`, called once a batch. A number is a mean over the
            batch's examples; a pair (sum, count) counts by what it says, such as words or pixels.
            Without one, integer targets give the accuracy.
    """
    model.eval()
    sums: dict[str, tuple[float, float]] = {}
    batches = Batches(dataset, setting.placing)
    with torch.no_grad():
        for batch in batches.epoch(torch.arange(length(dataset)), batch_size):
            setting.poll()
            for name, (total, count) in _measure(model, batch, setting, metrics).items():
                before = sums.get(name, (0.0, 0.0))
                sums[name] = (before[0] + total, before[1] + count)
    means = {name: total / count for name, (total, count) in sums.items() if count}
    return Learned(length(dataset), means)


def _measure(
    model: nn.Module, batch: Batch, setting: Setting, metrics: Metrics | None
) -> dict[str, tuple[float, float]]:
    with setting.precision():
        output = model(batch.inputs)
        loss = setting.loss(output, batch.target)
    found = {"loss": (float(loss) * batch.count, float(batch.count))}
    if metrics is None:
        return {**found, **_accuracy(output, batch.target)}
    own = metrics(output, batch.target)
    if not isinstance(own, Mapping):
        raise TaskError(f"metrics(outputs, targets) must return a dict, got {type(own).__name__}")
    return {**found, **{str(name): _pair(str(name), value, batch.count) for name, value in own.items()}}


def _pair(name: str, value: Any, count: int) -> tuple[float, float]:
    """(sum, count) of a metric over one batch."""
    try:
        if isinstance(value, tuple):
            total, over = value
            return float(total), float(over)
        return float(value) * count, float(count)
    except (TypeError, ValueError):
        raise TaskError(f"metrics(): {name!r} must be a number or a pair (sum, count)") from None


def _accuracy(output: Any, target: Any) -> dict[str, tuple[float, float]]:
    """The targets that the highest output names; outputs (n, classes, ...), targets (n, ...)."""
    if not isinstance(output, torch.Tensor) or not isinstance(target, torch.Tensor):
        return {}
    if target.is_floating_point() or output.dim() != target.dim() + 1:
        return {}
    right = int((output.argmax(1) == target).sum())
    return {"accuracy": (float(right), float(math.prod(target.shape)))}
