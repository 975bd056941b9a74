"""From a job's strategy name to the strategy itself, loaded when it is first used."""

from __future__ import annotations

import importlib
from typing import cast

from ...storage.errors import SpecInvalid
from ...storage.job import JobSpec
from .average import Options, Strategy
from .checking import check, installed
from .options import COMMON, ELEMENTWISE, STRATEGIES, TORCH


def load(spec: JobSpec) -> Strategy:
    """The strategy of a job: ours, an optimizer of torch, or one that an installed package brings.

    Raises:
        SpecInvalid: there is none of this name here, or the package that brings it can't be loaded.
    """
    check(spec)
    name = spec.strategy.name
    if name in STRATEGIES:
        return cast(Strategy, importlib.import_module(f"{__package__}.{name}"))
    if name in TORCH:
        from .torch_optim import TorchOptim

        return TorchOptim(name)
    entry = installed()[name]
    try:
        loaded = entry.load()
    except Exception as error:
        raise SpecInvalid(f"strategy.name: {entry.value} can't be loaded: {type(error).__name__}: {error}") from error
    if not callable(getattr(loaded, "init", None)) or not callable(getattr(loaded, "apply", None)):
        raise SpecInvalid(f"strategy.name: {entry.value} has no functions init and apply")
    return cast(Strategy, loaded)


def options_of(spec: JobSpec, round_number: int) -> Options:
    """The job's options for its strategy: defaults filled in, the rate of a gradients job from [train] if not given."""
    name = spec.strategy.name
    given = {key: value for key, value in spec.strategy.options.items() if key not in COMMON}
    rate = {"lr": spec.train.lr_at(round_number)} if spec.update == "gradients" else {}
    if name == "qfedavg":
        rate = {"lipschitz": 1 / spec.train.lr_at(round_number)}
    defaults = {key: option.default for key, option in STRATEGIES.get(name, {}).items() if option.default is not None}
    return defaults | rate | given


def elementwise(spec: JobSpec) -> bool:
    """Whether the job's strategy may be given a part of the model at a time: one of another package says so itself."""
    name = spec.strategy.name
    return name in ELEMENTWISE or name in TORCH or bool(getattr(load(spec), "elementwise", False))


def looks_back(spec: JobSpec) -> bool:
    """Whether the step needs the model before the round: not where the average of weights is the next model."""
    replaces = spec.update == "weights" and bool(getattr(load(spec), "replaces", False))
    return not replaces or bool(spec.strategy.options.get("ema"))


def needs_squares(spec: JobSpec) -> bool:
    """Whether the strategy wants the norms of updates, which takes a further pass over them when the round closes."""
    return bool(getattr(load(spec), "needs_squares", False))


def accumulates_double(spec: JobSpec) -> bool:
    """Whether the job asks for sums in float64."""
    wide = spec.strategy.name == "qfedavg"  # its weights, F^q, span more powers of ten than float32 has
    return wide or spec.strategy.options.get("accumulate") == "float64"
