"""Evaluation of a model on some examples: no I/O. Sums and counts, so that uneven batches and clients weigh right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from ..storage import counting
from .batches import Batch, Batches, length
from .counts import Tally
from .errors import TaskError
from .local import Setting
from .task_calls import Wanted
from .wire import METRIC_NAME_MAX, bounded_metrics

Pair = tuple[float, float]  # (sum, count)


@dataclass(frozen=True, slots=True)
class Measured:
    """Metrics over so many examples, and the counts that they follow from (storage/counting.py)."""

    examples: int
    metrics: Mapping[str, float]
    counts: Mapping[str, list[float]]


def evaluate(
    model: nn.Module,
    dataset: Dataset[Any],
    setting: Setting,
    *,
    batch_size: int,
    wanted: Wanted | None = None,
) -> Measured:
    """The loss and the metrics over all examples.

    Args:
        wanted: the task's `metrics(outputs, targets)`, called once a batch (a number is a mean over the batch's
            examples; a pair (sum, count) counts by what it says, such as words or pixels), and the names of
            metrics made of counts. Without a function, integer targets give the accuracy.
    """
    wanted = wanted or Wanted()
    model.eval()
    sums: dict[str, Pair] = {}
    tally = Tally(wanted.names, wanted.positive)
    batches = Batches(dataset, setting.placing)
    with torch.no_grad():
        for batch in batches.epoch(torch.arange(length(dataset)), batch_size):
            setting.poll()
            with setting.precision():
                output = model(batch.inputs)
                loss = setting.loss(output, batch.target)
            found = {"loss": (float(loss) * batch.count, float(batch.count)), **_measure(output, batch, wanted)}
            for name, (total, count) in found.items():
                before = sums.get(name, (0.0, 0.0))
                sums[name] = (before[0] + total, before[1] + count)
            tally.add(output, batch.target)
    return _measured(length(dataset), sums, tally.counts(), wanted)


def _measured(examples: int, sums: Mapping[str, Pair], counts: dict[str, list[float]], wanted: Wanted) -> Measured:
    means = bounded_metrics({name: total / count for name, (total, count) in sums.items() if count})
    named = {name: counting.measure(name, counts) for name in wanted.names}
    metrics = bounded_metrics({**means, **{name: value for name, value in named.items() if value is not None}})
    short = {name[:METRIC_NAME_MAX]: pair for name, pair in sums.items()}
    pairs = {counting.SUM + name: list(short[name]) for name in means if name in metrics and name not in named}
    return Measured(examples, metrics, counts | pairs)


def _measure(output: Any, batch: Batch, wanted: Wanted) -> dict[str, Pair]:
    if wanted.own is None:
        return _accuracy(output, batch.target)
    own = wanted.own(output, batch.target)
    if not isinstance(own, Mapping):
        raise TaskError(f"metrics(outputs, targets) must return a dict, got {type(own).__name__}")
    return {str(name): _pair(str(name), value, batch.count) for name, value in own.items()}


def _pair(name: str, value: Any, count: int) -> Pair:
    """(sum, count) of a metric over one batch."""
    try:
        if isinstance(value, tuple):
            total, over = value
            return float(total), float(over)
        return float(value) * count, float(count)
    except (TypeError, ValueError):
        raise TaskError(f"metrics(): {name!r} must be a number or a pair (sum, count)") from None


def _accuracy(output: Any, target: Any) -> dict[str, Pair]:
    """The targets that the highest output names; outputs (n, classes, ...), targets (n, ...)."""
    if not isinstance(output, torch.Tensor) or not isinstance(target, torch.Tensor):
        return {}
    if target.is_floating_point() or output.dim() != target.dim() + 1:
        return {}
    right = int((output.argmax(1) == target).sum())
    return {"accuracy": (float(right), float(math.prod(target.shape)))}
