"""Counts of a model's outputs against their targets, batch by batch: what named metrics are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from ..storage import counting
from .errors import TaskError

_BOUNDS = torch.linspace(0, 1, counting.BINS)


class Tally:
    """What was counted so far, for the families of the metrics that are wanted."""

    def __init__(self, names: Sequence[str], positive: int) -> None:
        """Nothing counted yet.

        Args:
            names: of metrics, known ones.
            positive: of two classes, the one that precision and the like are of.
        """
        families = {counting.family(name) for name in names}
        self._names = {kind: [name for name in names if counting.family(name) == kind] for kind in families}
        self._positive = positive
        self._total: dict[str, torch.Tensor] = {}

    def add(self, output: Any, target: Any) -> None:
        """Count a batch. Raises TaskError where the wanted metrics can't be made of such outputs."""
        if not self._names:
            return
        if not isinstance(output, torch.Tensor) or not isinstance(target, torch.Tensor):
            raise TaskError(f"metrics {self._all}: outputs and targets must be tensors")
        if "error" in self._names:
            self._add_errors(output, target)
        if "class" in self._names or "score" in self._names:
            self._add_classes(*self._logits(output, target))

    def counts(self) -> dict[str, list[float]]:
        """By the names that storage/counting.py gives them."""
        return {name: total.tolist() for name, total in self._total.items()}

    @property
    def _all(self) -> str:
        return ", ".join(name for names in self._names.values() for name in names)

    def _add_errors(self, output: torch.Tensor, target: torch.Tensor) -> None:
        if output.shape != target.shape:
            words = f"output {tuple(output.shape)} and target {tuple(target.shape)}"
            raise TaskError(f"metrics {', '.join(self._names['error'])} need equal shapes: {words}")
        y = target.double().flatten()
        off = output.double().flatten() - y
        sums = [torch.tensor(float(y.numel())), off.abs().sum(), off.square().sum(), y.sum(), y.square().sum()]
        self._count(counting.ERROR, torch.stack([part.double().cpu() for part in sums]))

    def _add_classes(self, scores: torch.Tensor, actual: torch.Tensor) -> None:
        """Logits (n, k), and classes (n,)."""
        k, taken = scores.shape[1], scores.argmax(1)
        scores = functional.softmax(scores, 1) if "score" in self._names else scores
        if k == 2 and self._positive == 0:
            scores, taken, actual = scores.flip(1), 1 - taken, 1 - actual
        if "class" in self._names:
            sides = {counting.RIGHT: actual[taken == actual], counting.PREDICTED: taken, counting.ACTUAL: actual}
            for name, classes in sides.items():
                self._count(name, torch.bincount(classes, minlength=k))
        if "score" in self._names:
            for place in range(k) if k > 2 else (1,):
                self._add_scores(place, scores[:, place], actual == place)

    def _add_scores(self, place: int, scores: torch.Tensor, inside: torch.Tensor) -> None:
        bins = torch.bucketize(scores.contiguous(), _BOUNDS.to(scores.device), right=True) - 1
        bins = bins.clamp(0, counting.BINS - 1)
        for name, chosen in zip(counting.score_keys(place), (inside, ~inside), strict=True):
            self._count(name, torch.bincount(bins[chosen], minlength=counting.BINS))

    def _logits(self, output: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(logits (n, k), classes (n,)) from outputs (n, k, ...) as cross-entropy takes them, or one logit each."""
        if not target.is_floating_point() and output.dim() == target.dim() + 1 and output.shape[1] > 1:
            scores = output.movedim(1, -1).reshape(-1, output.shape[1]).float()
        elif output.numel() == target.numel():
            one = output.reshape(-1, 1).float()
            scores = torch.cat([torch.zeros_like(one), one], 1)  # softmax of (0, x) is sigmoid(x)
        else:
            shapes = f"output {tuple(output.shape)} and target {tuple(target.shape)}"
            raise TaskError(f"metrics {self._all} need outputs (n, classes) or one logit an example: {shapes}")
        actual = target.reshape(-1).long()
        self._check_classes(scores.shape[1], actual)
        return scores, actual

    def _check_classes(self, k: int, actual: torch.Tensor) -> None:
        most = counting.SCORED_CLASSES_MAX if "score" in self._names else counting.CLASSES_MAX
        if k > most:
            raise TaskError(f"metrics {self._all}: {k} classes; at most {most}")
        if actual.numel() and not 0 <= int(actual.min()) <= int(actual.max()) < k:
            raise TaskError(f"metrics {self._all}: a target outside 0 to {k - 1}, the model's {k} classes")

    def _count(self, name: str, part: torch.Tensor) -> None:
        part = part.cpu()
        self._total[name] = self._total[name] + part if name in self._total else part
