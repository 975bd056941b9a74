"""Any optimizer of torch.optim on the averaged gradient: federated SGD as one large centralised batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ...storage.errors import ObjectDamaged
from .average import Average, Options, Tensors

_CLASSES: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "rmsprop": torch.optim.RMSprop,
    "asgd": torch.optim.ASGD,
    "rprop": torch.optim.Rprop,
}


class TorchOptim:
    """One step a round of an optimizer of torch, over the parameters in name order.

    Its state lies in the checkpoint as `<torch's name of it>/<parameter>`, so that each round makes the
    optimizer anew and goes on exactly where the last one stopped.
    """

    def __init__(self, name: str) -> None:
        self._make = _CLASSES[name]

    def init(self, weights: Tensors, options: Options) -> Tensors:
        """Empty: torch makes its state at the first step."""
        return {}

    def apply(
        self, state: Tensors, weights: Tensors, average: Average, options: Options, round_number: int
    ) -> tuple[Tensors, Tensors]:
        """One step along the averaged gradient (or pseudo-gradient)."""
        parameters: dict[str, torch.nn.Parameter] = {}
        for name in sorted(weights):
            parameters[name] = torch.nn.Parameter(weights[name].clone())
            parameters[name].grad = average.gradient(name, weights[name])
        given = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
        optimizer = self._make(list(parameters.values()), **given)
        _restore(optimizer, parameters, state)
        optimizer.step()
        new = {name: parameter.detach() for name, parameter in parameters.items()}
        return _state(optimizer, parameters), new


def _restore(optimizer: torch.optim.Optimizer, parameters: dict[str, torch.nn.Parameter], state: Tensors) -> None:
    """Put the state back: torch's own load_state_dict would cast a float32 step count to the parameter's dtype."""
    for key, tensor in state.items():
        kind, _, name = key.partition("/")
        if name not in parameters:
            raise ObjectDamaged(f"optimizer state {key[:80]!r} is of no parameter of the model")
        optimizer.state[parameters[name]][kind] = tensor


def _state(optimizer: torch.optim.Optimizer, parameters: dict[str, torch.nn.Parameter]) -> Tensors:
    flat: Tensors = {}
    for name, parameter in parameters.items():
        kept: dict[str, Any] = optimizer.state[parameter]
        for kind, value in kept.items():
            if value is None:  # SGD's momentum buffer, where there is no momentum
                continue
            assert isinstance(value, torch.Tensor), f"{kind} of {type(optimizer).__name__} is no tensor"
            flat[f"{kind}/{name}"] = value
    return flat
