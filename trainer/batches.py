"""Batches of a dataset: drawn by a generator of their own; tensors are indexed a whole batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.utils.data import Dataset, Subset, TensorDataset, default_collate

from .errors import TaskError


@dataclass(frozen=True, slots=True)
class Batch:
    """Some examples at once, on the device that trains them."""

    inputs: Any  # a tensor, or lists and dicts of them, with examples along the first dimension
    target: Any
    count: int


@dataclass(frozen=True, slots=True)
class Placing:
    """Where a batch goes and how its floating tensors are cast."""

    device: torch.device
    double: bool = False  # fp64: everything floating; else only float64 is cast, to float32

    def place(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.to(self.device, self._dtype(value), non_blocking=True)
        if isinstance(value, dict):
            return {key: self.place(part) for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.place(part) for part in value]
        return value

    def _dtype(self, tensor: torch.Tensor) -> torch.dtype:
        if self.double and tensor.is_floating_point():
            return torch.float64
        return torch.float32 if tensor.dtype == torch.float64 else tensor.dtype


def length(dataset: Dataset[Any]) -> int:
    return len(cast(Sized, dataset))


def split(dataset: Dataset[Any], share: float, seed: int) -> tuple[Dataset[Any], Dataset[Any] | None]:
    """(for training, for validation): floor(n x share) examples are kept from training, drawn by the seed."""
    total = length(dataset)
    kept = int(total * share)
    if kept == 0:
        return dataset, None
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    held, rest = order[:kept].sort().values, order[kept:].sort().values
    return Subset(dataset, rest.tolist()), Subset(dataset, held.tolist())


def draw(dataset: Dataset[Any], seed: int, *, shuffle: bool) -> Iterator[torch.Tensor]:
    """The order of each epoch in turn, without end. (n,) int64."""
    total = length(dataset)
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randperm(total, generator=generator) if shuffle else torch.arange(total)


class Batches:
    """Reads batches by the examples' indices."""

    def __init__(self, dataset: Dataset[Any], placing: Placing) -> None:
        self._dataset = dataset
        self._placing = placing
        self._tensors, self._rows = _as_tensors(dataset)

    def read(self, indices: torch.Tensor) -> Batch:
        """The batch of these examples. Raises TaskError where an example is not a pair."""
        pair = self._indexed(indices) if self._tensors else self._collated(indices.tolist())
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            got = f"{len(pair)} parts" if isinstance(pair, (list, tuple)) else type(pair).__name__
            raise TaskError(f"an example must be a pair (input, target), got {got}")
        return Batch(self._placing.place(pair[0]), self._placing.place(pair[1]), len(indices))

    def epoch(self, order: torch.Tensor, batch_size: int) -> Iterator[Batch]:
        """Every example once in this order; the last batch may be smaller. Size 0: all in one."""
        for indices in torch.split(order, batch_size or max(1, len(order))):
            yield self.read(indices)

    def _indexed(self, indices: torch.Tensor) -> list[torch.Tensor]:
        rows = indices if self._rows is None else self._rows[indices]
        return [tensor[rows] for tensor in self._tensors]

    def _collated(self, indices: Sequence[int]) -> Any:
        fetch = getattr(self._dataset, "__getitems__", None)
        return default_collate(fetch(indices) if fetch else [self._dataset[index] for index in indices])


def _as_tensors(dataset: Dataset[Any]) -> tuple[tuple[torch.Tensor, ...], torch.Tensor | None]:
    """(tensors, rows) of a TensorDataset or a subset of one; () for any other dataset."""
    if type(dataset) is TensorDataset:
        return dataset.tensors, None
    if type(dataset) is Subset:
        tensors, rows = _as_tensors(dataset.dataset)
        if tensors:
            chosen = torch.as_tensor(dataset.indices, dtype=torch.int64)
            return tensors, chosen if rows is None else rows[chosen]
    return (), None
