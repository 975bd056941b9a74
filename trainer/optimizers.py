"""The client's optimizer: any of torch.optim by name, with its arguments checked and the mistakes named."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch

from ..storage.job import TrainSpec
from .errors import TaskError
from .task_calls import nearest

_OWN_FIELDS = ("lr", "momentum", "weight_decay")  # fields of [train], not of its options
_NOT_OURS = frozenset(("optimizer", "lbfgs"))  # the base class; one that calls the model again within a step


def optimizer_names() -> list[str]:
    """Every optimizer that a job may name."""
    return sorted(_classes())


def make_optimizer(spec: TrainSpec, parameters: Sequence[torch.nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """A fresh optimizer over the parameters.

    Raises:
        TaskError: no such optimizer, an argument that it does not take, or a value that it refuses.
    """
    classes = _classes()
    name = spec.optimizer.lower()
    if name not in classes:
        raise TaskError(f"[train] optimizer {spec.optimizer!r} is not one of torch.optim; {nearest(name, classes)}")
    if not parameters:
        raise TaskError("model() has no trainable parameters, and the task no train() of its own")
    arguments = {"lr": lr, **_arguments(spec, classes[name])}
    try:
        made: torch.optim.Optimizer = classes[name](parameters, **arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TaskError(f"[train] optimizer {name}: {error}") from None
    return made


def step(optimizer: torch.optim.Optimizer) -> None:
    """`optimizer.step()` less its wrappers, which load torch.compile first: 3 s and 80 MB of a training process.

    What they add (hooks, profiling, gradients through the step itself) is not used here.
    """
    with torch.no_grad():
        inspect.unwrap(type(optimizer).step)(optimizer)


def spare_the_compiler() -> None:
    """Let torch's optimizers be made without loading torch.compile (see `step`).

    They load it only to mark four of their methods as not to be compiled. The mark is set here instead: the
    method itself. With a torch that marks them in another way this changes nothing.
    """
    for method in vars(torch.optim.Optimizer).values():
        if getattr(method, "__globals__", {}).get("__name__") == "torch._compile":
            plain = getattr(method, "__wrapped__", None)
            if plain is not None and not hasattr(plain, "__dynamo_disable"):
                setattr(plain, "__dynamo_disable", plain)  # in a class body the name would change


def _classes() -> dict[str, Any]:
    found = {name.lower(): value for name, value in vars(torch.optim).items() if isinstance(value, type)}
    return {
        name: value
        for name, value in found.items()
        if issubclass(value, torch.optim.Optimizer) and name not in _NOT_OURS
    }


def _arguments(spec: TrainSpec, kind: Any) -> dict[str, Any]:
    takes = set(inspect.signature(kind).parameters) - {"params"}
    given: dict[str, Any] = {}
    for field in ("momentum", "weight_decay"):
        value = getattr(spec, field)
        if field in takes:
            given[field] = value
        elif value:
            raise TaskError(f"[train] {field} {value:g}: optimizer {spec.optimizer} takes none")
    for option, value in spec.options.items():
        if option in _OWN_FIELDS:
            raise TaskError(f"[train] options.{option}: write it as [train] {option}")
        if option not in takes:
            hint = nearest(option, takes - set(_OWN_FIELDS))
            raise TaskError(f"[train] options.{option}: optimizer {spec.optimizer} has none; {hint}")
        given[option] = tuple(value) if isinstance(value, list) else value
    return given
