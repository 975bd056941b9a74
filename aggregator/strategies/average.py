"""What a round's reducer hands to a server optimizer, and what each optimizer gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch

from .counted import Counted

Tensors = dict[str, torch.Tensor]
Options = Mapping[str, bool | int | float | str | list[bool | int | float | str]]


@dataclass(frozen=True, slots=True)
class Squares:
    """Squared norms of what changed, over what is trained: of each update in client order, and of their average."""

    each: tuple[float, ...]
    mean: float


@dataclass(frozen=True, slots=True)
class Average:
    """The weighted average of a round's updates, over the trainable parameters.

    The verbs work in the memory of `values`: ask each tensor for one thing, once.

    Attributes:
        kind: what the clients sent: weights; delta, their change; or gradients.
        values: (as the parameter) float32 or float64, by name; the strategy's to use up.
        beside: means over the updates, each counted once, of what they carry beside the model: group -> name ->
            tensor. Empty unless the algorithm sends any.
        counted: the updates, in client order.
        clients: how many clients the job has in all.
        squares: for a strategy that says `needs_squares = True`; else None.
    """

    kind: Literal["weights", "delta", "gradients"]
    values: Tensors
    beside: Mapping[str, Tensors] = field(default_factory=dict)
    counted: tuple[Counted, ...] = ()
    clients: int = 1
    squares: Squares | None = None

    def weights(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """w_avg: exactly the average where weights were sent, with no w - (w - w_avg) to round it."""
        assert self.kind != "gradients"
        return self.values[name] if self.kind == "weights" else self.values[name].add_(weight)

    def update(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """D = w_avg - w, the average update."""
        assert self.kind != "gradients"
        return self.values[name].sub_(weight) if self.kind == "weights" else self.values[name]

    def gradient(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """The averaged gradient; where weights or deltas were sent the pseudo-gradient w - w_avg."""
        return self.values[name] if self.kind == "gradients" else self.update(name, weight).neg_()


class Strategy(Protocol):
    """A server optimizer: a module or an object with these two. State is a flat dict, saved as a file."""

    def init(self, weights: Tensors, options: Options) -> Tensors:
        """The state before the first round; empty where the strategy keeps none."""
        ...

    def apply(
        self, state: Tensors, weights: Tensors, average: Average, options: Options, round_number: int
    ) -> tuple[Tensors, Tensors]:
        """The state after this round, and the new weights.

        Args:
            state: what `init` or the round before gave; may be changed in place.
            weights: (as in the model) float32 or float64, read only.
            average: of this round; may be used up.
            options: every option, defaults filled in.
            round_number: from 1.
        """
        ...
