"""Calls of a task's functions, each answer checked and each mistake told with what was expected."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from torch import nn
from torch.utils.data import Dataset

from ..broker.messages import METRICS_MAX
from ..storage.counting import family, no_such_metric
from ..storage.job import EvaluateSpec
from .task import Client, Task

SIGNATURES_KEPT = 32  # of the functions of the tasks at hand


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint that ends a sentence about an unknown name."""
    known = sorted(names)
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(known)}" if known else "it takes none"


def build_model(task: Task, params: Mapping[str, Any], data: Mapping[str, Any] | None = None) -> nn.Module:
    """`model(**params)`; an argument without a default that `[params]` leaves out is taken from `[data]`.

    Raises TaskError.
    """
    function = task.needed("model", "model(**params)")
    named = [p for p in _parameters(function) if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    needed = {p.name for p in named if p.default is p.empty} - params.keys()
    given = {**params, **{name: value for name, value in (data or {}).items() if name in needed}}
    _check_options(task, function, "model", given, "[params]", given=0)
    module = function(**given)
    if not isinstance(module, nn.Module):
        raise task.mistake(f"model() must return a torch.nn.Module, got {type(module).__name__}", function)
    return module


def client_data(task: Task, client: Client, options: Mapping[str, Any]) -> Dataset[Any]:
    """`data(client, **options)`. Raises TaskError."""
    function = task.needed("data", "data(client)")
    _check_options(task, function, "data", options, "[data]", given=1)
    return _checked(task, function, "data(client)", function(client, **options))


def held_out_data(task: Task, client: Client, options: Mapping[str, Any]) -> Dataset[Any] | None:
    """`test_data()` or `test_data(client)`, with those options that it takes; None where there is none."""
    function = task.function("test_data")
    if function is None:
        return None
    takes = _parameters(function)
    first = takes[0] if takes else None
    given = [client] if first is not None and (first.name == "client" or first.default is first.empty) else []
    named = {name: options[name] for name in options if name in {p.name for p in takes[len(given) :]}}
    return _checked(task, function, "test_data()", function(*given, **named))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is measured of a model beside its loss.

    Attributes:
        own: the task's `metrics(outputs, targets)`, where it has one.
        names: of metrics made from counts.
        positive: of two classes, the one that recall and the like are of.
    """

    own: Callable[[Any, Any], Mapping[str, Any]] | None = None
    names: tuple[str, ...] = ()
    positive: int = 1


def wanted_metrics(task: Task, spec: EvaluateSpec) -> Wanted:
    """The task's `metrics`, a function or a list of names; the job's `[evaluate] metrics` goes before a list.

    Raises:
        TaskError: neither, or a name that no metric has.
    """
    given = getattr(task.module, "metrics", None)
    listed = tuple(map(str, given)) if isinstance(given, list | tuple) else None
    names = tuple(spec.metrics) or listed or ()
    for name in names:
        if not family(name):
            raise task.mistake(f"metrics: {no_such_metric(name)}")
    positive = getattr(task.module, "positive", 1) if spec.positive is None else spec.positive
    if positive not in (0, 1):
        raise task.mistake(f"positive must be 0 or 1, the class that recall is of, got {positive!r}")
    return Wanted(None if listed is not None else task.function("metrics"), names[:METRICS_MAX], int(positive))


def _checked(task: Task, function: Callable[..., Any], what: str, dataset: Any) -> Dataset[Any]:
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        got = type(dataset).__name__
        raise task.mistake(f"{what} must return a Dataset with len() and indexing, got {got}", function)
    if len(dataset) == 0:
        raise task.mistake(f"{what} gave a Dataset without examples", function)
    return dataset  # type: ignore[no-any-return]


def _parameters(function: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    try:
        return _signature(function)
    except (TypeError, ValueError):  # a callable from C may have no signature to read
        return (inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD),)


@lru_cache(maxsize=SIGNATURES_KEPT)
def _signature(function: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    """Read once: a round's clients are all asked by one function."""
    return tuple(inspect.signature(function).parameters.values())


def _check_options(
    task: Task,
    function: Callable[..., Any],
    name: str,
    options: Mapping[str, Any],
    section: str,
    *,
    given: int,
) -> None:
    """Name the option that the function does not take, or the argument that nobody gave."""
    takes = _parameters(function)
    if any(p.kind is p.VAR_KEYWORD for p in takes):
        return
    if len([p for p in takes if p.kind is not p.KEYWORD_ONLY]) < given and not any(
        p.kind is p.VAR_POSITIONAL for p in takes
    ):
        raise task.mistake(f"{name}() must take the client: def {name}(client)", function)
    by_name = {p.name: p for p in takes[given:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    for option in options:
        if option not in by_name:
            hint = nearest(option, by_name)
            raise task.mistake(f"{section} {option}: {name}() has no such parameter; {hint}", function)
    for parameter in by_name.values():
        if parameter.default is parameter.empty and parameter.name not in options:
            raise task.mistake(f"{name}() needs {parameter.name!r}: give it under {section}", function)
