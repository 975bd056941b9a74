"""Whether a job's strategy exists and its options make sense: asked at submit time, answered without torch."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from ...storage.errors import SpecInvalid
from ...storage.job import JobSpec
from ..choices import check_options, nearest
from ..reducers.options import check_reducer
from .local_rules import check_rule
from .options import COMMON, STRATEGIES, TORCH

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
    check_reducer(spec)
    name = spec.strategy.name
    if name in STRATEGIES:
        check_options("strategy", name, STRATEGIES[name] | COMMON, spec.strategy.options)
        if spec.update == "gradients" and name != "fedavg":
            raise SpecInvalid(
                f'strategy.name: {name} works on weights, and this job sends gradients (update = "gradients"). '
                f'Choose an optimizer of torch ("sgd", "adam", ...), or update = "weights".'
            )
        if name == "fedexp":
            _check_fedexp(spec)
    elif name in TORCH:
        check_options("strategy", name, TORCH[name] | COMMON, spec.strategy.options)
        _check_torch(name, spec)
    elif name not in installed():
        known = [*STRATEGIES, *TORCH, *installed()]
        raise SpecInvalid(f"strategy.name: there is no strategy {name!r}{nearest(name, known)}")
    check_rule(spec)


def _check_fedexp(spec: JobSpec) -> None:
    if spec.reducer.name != "average":
        raise SpecInvalid(
            "reducer.name: fedexp steps by the norms of all updates, an attacker's too; choose another strategy."
        )
    if spec.schedule.asynchronous:
        raise SpecInvalid('schedule.kind: fedexp is about updates of one model: choose "synchronous".')


def _check_torch(name: str, spec: JobSpec) -> None:
    options = spec.strategy.options
    if spec.update != "gradients" and "lr" not in options:
        raise SpecInvalid(
            f"strategy.lr: {name} on averaged weights needs a rate of its own (1.0 with sgd is fedavg, "
            "0.7 with nesterov momentum 0.9 is DiLoCo's)."
        )
    if name == "sgd" and options.get("nesterov") and (not options.get("momentum") or options.get("dampening")):
        raise SpecInvalid("strategy.nesterov: needs a momentum above 0, and no dampening")
