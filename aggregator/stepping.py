"""The server's step from a round's averages to the next model: of all tensors at once, or of some items of each."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ..storage.documents import Manifest
from ..storage.errors import ObjectDamaged
from ..storage.job import JobSpec
from ..storage.rules import BESIDE, rule_of
from ..storage.tensors import FLOATING, shown
from ..storage.torch_tensors import TORCH_DTYPES
from .layout import Layout
from .merging import merge
from .strategies import ema
from .strategies.average import Average, Squares, Tensors
from .strategies.counted import counted_of
from .strategies.registry import load, looks_back, options_of


class NotFinite(ObjectDamaged):
    """The updates were finite and the model that came of them is not: the server's step is too large."""


class Stepping:
    """The strategy of one round. Several threads may step at a time, each with its own items."""

    def __init__(self, spec: JobSpec, manifest: Manifest, layout: Layout, squares: Squares | None = None) -> None:
        """What is the same for all items.

        Args:
            layout: the checkpoint's.
            squares: of the whole model, for a strategy that needs them.
        """
        self._spec = spec
        self._manifest = manifest
        self._layout = layout
        self._squares = squares
        self._strategy = load(spec)
        self._looks_back = looks_back(spec)
        self._options = options_of(spec, manifest.round)
        self._counted = counted_of(spec, manifest.entries)

    @torch.no_grad()
    def step(
        self, before: Mapping[str, torch.Tensor], averages: Tensors, state: Tensors | None
    ) -> tuple[Tensors, Tensors]:
        """The strategy's state after the round, and the new model in its own dtypes.

        Args:
            before: the model before, or items of it, in its own dtypes. Only what is needed is looked up.
            averages: of the same items; used up.
            state: the strategy's, of the same items; None where it starts.
        """
        spec, layout = self._spec, self._layout
        merge(spec, self._manifest, averages, before, layout.trainable)
        trained = {name: averages.pop(name) for name in sorted(layout.trainable & averages.keys())}
        beside = {
            group: {name: averages.pop(f"{BESIDE}{group}/{name}") for name in trained} for group in rule_of(spec).sends
        }
        state, new = self._trained(before, trained, beside, state)
        new = new | {name: self._carried(before, name, value) for name, value in averages.items()}
        new = {name: tensor.detach().to(TORCH_DTYPES[layout.tensors[name].dtype]) for name, tensor in new.items()}
        return state, new | {name: before[name] for name in layout.local & before.keys()}

    def _trained(
        self, before: Mapping[str, torch.Tensor], trained: Tensors, beside: dict[str, Tensors], state: Tensors | None
    ) -> tuple[Tensors, Tensors]:
        """The strategy's own step. A range may hold nothing that is trained, and torch's optimizers refuse that."""
        if not trained:
            return {}, {}
        weights = {name: before[name].to(value.dtype) if self._looks_back else value for name, value in trained.items()}
        state, mean = ema.take_out(state)
        if state is None:
            state = self._strategy.init(weights, self._options)
        spec, number = self._spec, self._manifest.round
        average = Average(spec.update, trained, beside, self._counted, len(spec.client_names), self._squares)
        state, new = self._strategy.apply(state, weights, average, self._options, number)
        return state | ema.after_round(spec, mean, weights, new, trained.keys()), new

    def _carried(self, before: Mapping[str, torch.Tensor], name: str, value: torch.Tensor) -> torch.Tensor:
        """What is not trained: averages of floating tensors, the first client's integers; never stepped."""
        if self._spec.update == "delta" and self._layout.tensors[name].dtype in FLOATING:
            return value.add_(before[name])
        return value


def check_finite(new: Tensors) -> None:
    """Raises NotFinite."""
    for name, tensor in new.items():
        if tensor.is_floating_point() and tensor.numel() and not torch.isfinite(tensor.sum()):
            least, most = torch.aminmax(tensor)  # of finite values a sum may overflow; this costs 2 to 6 times as much
            if not (torch.isfinite(least) and torch.isfinite(most)):
                raise NotFinite(f"the averaged model is not finite: tensor {shown(name)}; lower the server's rate")
