"""Whether a job's strategy exists and its options make sense: asked at submit time, answered without torch."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points

from ...storage.errors import SpecInvalid
from ...storage.job import JobSpec
from .options import COMMON, STRATEGIES, TORCH, Option, Value

GROUP = "warren.strategies"


def installed() -> dict[str, EntryPoint]:
    """Strategies that other packages bring, by name; not loaded."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def check(spec: JobSpec) -> None:
    """See that the job's strategy can be run.

    Raises:
        SpecInvalid: an unknown name or option (with the nearest), a value out of bounds, a combination that
            means nothing; the words say how to mend it.
    """
    name = spec.strategy.name
    if name in STRATEGIES:
        _check_options(name, STRATEGIES[name] | COMMON, spec.strategy.options)
        if spec.update == "gradients" and name != "fedavg":
            raise SpecInvalid(
                f'strategy.name: {name} works on weights, and this job sends gradients (update = "gradients"). '
                f'Choose an optimizer of torch ("sgd", "adam", ...), or update = "weights".'
            )
    elif name in TORCH:
        _check_options(name, TORCH[name] | COMMON, spec.strategy.options)
        _check_torch(name, spec)
    elif name not in installed():
        known = [*STRATEGIES, *TORCH, *installed()]
        raise SpecInvalid(f"strategy.name: there is no strategy {name!r}{nearest(name, known)}")


def _check_torch(name: str, spec: JobSpec) -> None:
    options = spec.strategy.options
    if spec.update != "gradients" and "lr" not in options:
        raise SpecInvalid(
            f"strategy.lr: {name} on averaged weights needs a rate of its own (1.0 with sgd is fedavg, "
            "0.7 with nesterov momentum 0.9 is DiLoCo's)."
        )
    if name == "sgd" and options.get("nesterov") and (not options.get("momentum") or options.get("dampening")):
        raise SpecInvalid("strategy.nesterov: needs a momentum above 0, and no dampening")


def _check_options(name: str, table: Mapping[str, Option], options: Mapping[str, Value]) -> None:
    for key, value in options.items():
        if key not in table:
            raise SpecInvalid(f"strategy.{key}: {name} has no such option{nearest(key, table)}")
        if not table[key].accepts(value):
            raise SpecInvalid(f"strategy.{key}: must be {table[key].says} (got {str(value)[:80]!r})")


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that names what was probably meant."""
    names = sorted(known)
    close = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    return f". Did you mean {close[0]!r}?" if close else f"; there are {', '.join(names)}."
