"""A running mean of the model over the rounds, kept in the state beside any strategy's: Polyak averaging with decay d.

e_t = d e_(t-1) + (1 - d) w_t          w_t: the model after round t, what is trained of it; e_0 = w_0
"""

from __future__ import annotations

from collections.abc import Collection

from ...storage.job import JobSpec
from .average import Tensors

PREFIX = "ema/"


def take_out(state: Tensors | None) -> tuple[Tensors | None, Tensors]:
    """The strategy's own state, None where that is nothing, and e by name."""
    if state is None:
        return None, {}
    mean = {key.removeprefix(PREFIX): tensor for key, tensor in state.items() if key.startswith(PREFIX)}
    own = {key: tensor for key, tensor in state.items() if not key.startswith(PREFIX)}
    return own or None, mean


def after_round(spec: JobSpec, mean: Tensors, weights: Tensors, new: Tensors, names: Collection[str]) -> Tensors:
    """What to add to the state: e of these names, by key; nothing where the job keeps none."""
    d = float(spec.strategy.options.get("ema", 0.0))  # type: ignore[arg-type]
    if not d:
        return {}
    return {f"{PREFIX}{name}": mean.get(name, weights[name]).mul(d).add_(new[name], alpha=1 - d) for name in names}
