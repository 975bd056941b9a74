"""Robust reducers on real updates, piece by piece: one pass for all inner products, a second one that combines.

Work is cut into blocks that depend on the tensor and the number of updates alone, each computed by one thread, and
added up in order. So neither the size of a range nor the number of threads is part of the result.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ..storage.job import JobSpec
from ..storage.tensors import FLOATING, TensorSpec
from .layout import Layout
from .pieces import Piece, Source, read_piece, whole
from .reducers import coordinates
from .reducers.choosing import ByCoordinate, Linear, Recipe, choose
from .reducers.options import compares
from .threads import cores, pool

BLOCK_BYTES = 4 << 20  # of one block of all updates in float64: about what a core's caches hold
BLOCK_ITEMS_MAX = 1 << 16
BLOCK_ITEMS_MIN = 1 << 8

Tensors = dict[str, torch.Tensor]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Updates:
    """A round's updates in client order, beside the model that they started from.

    Attributes:
        sources: of each update.
        examples: of each.
        base: the checkpoint.
        layout: of the model.
        absolute: whether updates are weights; else they are changes or gradients already.
        double: whether all results are float64.
    """

    sources: Sequence[Source]
    examples: Sequence[int]
    base: Source
    layout: Layout
    absolute: bool
    double: bool = False

    @property
    def block_items(self) -> int:
        """How many items of each update are worked on at a time: a power of 2."""
        fit = max(BLOCK_ITEMS_MIN, BLOCK_BYTES // (8 * max(1, len(self.sources))))
        return min(BLOCK_ITEMS_MAX, 1 << (fit.bit_length() - 1))

    def result_dtype(self, spec: TensorSpec) -> torch.dtype:
        """Of an averaged tensor, as the fold has it."""
        return torch.float64 if self.double or spec.dtype == "F64" else torch.float32


class Robust:
    """A job's robust reducer over one round's updates. The first pass is made at once, where it takes two."""

    def __init__(self, job: JobSpec, round_number: int, updates: Updates) -> None:
        """Raises ObjectMissing, ObjectDamaged, StorageUnavailable."""
        self._updates = updates
        gram = inner_products(updates) if compares(job.reducer) else None
        chance = random.Random(f"{job.seed}/bucketing/{round_number}")  # a str seed goes through sha512
        self._recipe = choose(job.reducer, updates.examples, gram, chance)

    @property
    def recipe(self) -> Recipe:
        return self._recipe

    def piece(self, piece: Piece) -> torch.Tensor:
        """The combined items, (items,): float32 or float64, integers as they are stored. Starts on a block's border."""
        updates, spec = self._updates, self._updates.layout.tensors[piece.name]
        if spec.dtype not in FLOATING:
            act: Callable[[Piece], torch.Tensor] = self._integers
        elif piece.name not in updates.layout.trainable:
            act = self._carried
        else:
            act = self._trained
        parts = list(pool().map(act, piece.cut(updates.block_items)))
        dtype = updates.result_dtype(spec) if spec.dtype in FLOATING else None
        return torch.cat(parts) if parts else _empty(updates.sources[0], piece, dtype)

    def all(self) -> Tensors:
        """Every tensor of the model."""
        found = {}
        for name, spec in self._updates.layout.tensors.items():
            found[name] = self.piece(whole(spec)).view(spec.shape)
        return found

    def _trained(self, block: Piece) -> torch.Tensor:
        recipe = self._recipe
        combined = _linear(self._updates, recipe, block) if isinstance(recipe, Linear) else self._by_coordinate(block)
        return combined.to(self._updates.result_dtype(self._updates.layout.tensors[block.name]))

    def _by_coordinate(self, block: Piece) -> torch.Tensor:
        recipe = self._recipe
        assert isinstance(recipe, ByCoordinate)
        if recipe.mixing is None:
            return torch.from_numpy(recipe.rule(_rows(self._updates, block, recipe.places)))
        mixed = (torch.from_numpy(recipe.mixing) @ _stacked(self._updates, block)).numpy()
        return torch.from_numpy(recipe.rule([mixed[place] for place in recipe.places or range(len(mixed))]))

    def _carried(self, block: Piece) -> torch.Tensor:
        """Statistics that nothing trains: the median of each, whatever the reducer."""
        found = torch.from_numpy(coordinates.median(_rows(self._updates, block)))
        return found.to(self._updates.result_dtype(self._updates.layout.tensors[block.name]))

    def _integers(self, block: Piece) -> torch.Tensor:
        read = [read_piece(source, block) for source in self._updates.sources]
        return torch.from_numpy(coordinates.lower_median([tensor.numpy() for tensor in read]))


def inner_products(updates: Updates) -> NDArray[np.float64]:
    """The inner products of all changes (u_i - w where updates are weights), (n, n) float64, of what is trained.

    Changes and not weights: in ||x_i||^2 - 2 x_i x_j + ||x_j||^2 the model itself would cancel, and take the digits
    of its changes with it.
    """
    total = np.zeros((len(updates.sources), len(updates.sources)))
    for block in batched(trained_blocks(updates), lambda piece: _products(updates, piece)):
        total += block
    return total


def trained_blocks(updates: Updates) -> Iterator[Piece]:
    """Every block of what is trained, in the order of names."""
    for name in sorted(updates.layout.trainable):
        yield from whole(updates.layout.tensors[name]).cut(updates.block_items)


def batched(pieces: Iterator[T], act: Callable[[T], NDArray[np.float64]]) -> Iterator[NDArray[np.float64]]:
    """Results in order, of as many pieces at a time as there are threads: each may be large."""
    while batch := list(islice(pieces, cores())):
        yield from list(pool().map(act, batch))


def _products(updates: Updates, block: Piece) -> NDArray[np.float64]:
    stacked = _stacked(updates, block)
    if updates.absolute:
        stacked -= read_piece(updates.base, block).double()
    products: NDArray[np.float64] = (stacked @ stacked.T).numpy()
    return products


def _stacked(updates: Updates, block: Piece) -> torch.Tensor:
    """(n, items) float64, as they were sent."""
    stacked = torch.empty((len(updates.sources), block.items), dtype=torch.float64)
    for row, source in zip(stacked, updates.sources, strict=True):
        row.copy_(read_piece(source, block))
    return stacked


def _rows(updates: Updates, block: Piece, places: Sequence[int] = ()) -> list[NDArray[Any]]:
    """A row of each update (or of those in some places), in float32 or float64 as the tensor: sorting needs no more."""
    dtype = torch.float64 if updates.layout.tensors[block.name].dtype == "F64" else torch.float32
    sources = [updates.sources[place] for place in places] or updates.sources
    return [read_piece(source, block).to(dtype).numpy() for source in sources]


def _linear(updates: Updates, recipe: Linear, block: Piece) -> torch.Tensor:
    """sum_i c_i u_i, and of the model what the coefficients lack of 1, where updates are weights."""
    total = torch.zeros(block.items, dtype=torch.float64)
    for source, coefficient in zip(updates.sources, recipe.coefficients.tolist(), strict=True):
        if coefficient:
            total.add_(read_piece(source, block).double(), alpha=coefficient)
    if updates.absolute and recipe.lacking:
        total.add_(read_piece(updates.base, block).double(), alpha=recipe.lacking)
    return total


def _empty(source: Source, piece: Piece, dtype: torch.dtype | None) -> torch.Tensor:
    nothing = read_piece(source, piece)
    return nothing if dtype is None else nothing.to(dtype)
