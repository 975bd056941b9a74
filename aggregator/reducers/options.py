"""What each reducer takes, with bounds, and the fewest updates it can work on: asked at submit time, without torch."""

from __future__ import annotations

from ...storage.errors import SpecInvalid
from ...storage.job import JobSpec, ReducerSpec
from ..choices import Option, check_options, nearest, rate

CLIENTS_MAX = 4096  # of a reducer that compares clients: the matrix of all pairs has 8 n^2 bytes

_RADIUS = {"radius": rate(None)}

REDUCERS: dict[str, dict[str, Option]] = {
    "average": {},
    "median": {},
    "trimmed-mean": {},
    "krum": {},
    "multi-krum": {"keep": Option(None, least=1)},
    "bulyan": {},
    "geometric-median": {"smoothing": rate(1e-6), "iterations": Option(100, least=1, below=10_001)},
    "centered-clipping": _RADIUS | {"iterations": Option(5, least=1, below=10_001)},
    "norm-clipping": _RADIUS,
}
BUCKET = {"bucket": Option(2, least=2, below=1001)}  # with before = "bucketing"

NEED_F = frozenset(("trimmed-mean", "krum", "multi-krum", "bulyan"))
BY_COORDINATE = frozenset(("median", "trimmed-mean"))
WEIGHABLE = frozenset(("geometric-median", "centered-clipping", "norm-clipping"))


def number(reducer: ReducerSpec, key: str) -> float | None:
    """An option of the job, or its default; None where it has neither."""
    table = REDUCERS[reducer.name] | BUCKET
    value = reducer.options.get(key, table[key].default)
    return None if value is None else float(value)  # type: ignore[arg-type]


def whole(reducer: ReducerSpec, key: str) -> int:
    """An option that counts something."""
    value = number(reducer, key)
    assert value is not None, key
    return int(value)


def compares(reducer: ReducerSpec) -> bool:
    """Whether it needs the matrix of all pairs."""
    return reducer.before == "nnm" or reducer.name not in BY_COORDINATE | {"average"}


def least_updates(reducer: ReducerSpec) -> int:
    """The fewest updates of which at most f may be an attacker's: below it the reducer promises nothing.

    Krum n >= 2f + 3 (Blanchard et al. 2017, proposition 1; of m chosen ones m <= n - f - 2); Bulyan
    n >= 4f + 3 (El Mhamdi et al. 2018); all others a majority, n > 2f. Of buckets of s it takes s times as many.
    """
    f = reducer.f or 0
    least = 2 * f + 1
    if reducer.name in ("krum", "multi-krum"):
        least = max(2 * f + 3, int(number(reducer, "keep") or 0) + f + 2 if reducer.name == "multi-krum" else 0)
    elif reducer.name == "bulyan":
        least = 4 * f + 3
    return whole(reducer, "bucket") * (least - 1) + 1 if reducer.before == "bucketing" else least


def check_reducer(spec: JobSpec) -> None:
    """See that the job's reducer can be run.

    Raises:
        SpecInvalid: an unknown name or option (with the nearest), a bound that no round of this job can meet;
            the words say how to mend it.
    """
    reducer = spec.reducer
    if reducer.name not in REDUCERS:
        raise SpecInvalid(f"reducer.name: there is no reducer {reducer.name!r}{nearest(reducer.name, REDUCERS)}")
    table = REDUCERS[reducer.name] | (BUCKET if reducer.before == "bucketing" else {})
    check_options("reducer", reducer.name, table, reducer.options)
    for key in ("keep", "iterations", "bucket"):
        value = reducer.options.get(key)
        if isinstance(value, float) and value != int(value):
            raise SpecInvalid(f"reducer.{key}: must be a whole number (got {value})")
    _check_fields(reducer)
    _check_counts(spec)


def _check_fields(reducer: ReducerSpec) -> None:
    name = reducer.name
    if name == "average" and (reducer.f is not None or reducer.before or reducer.weighted):
        said = "f" if reducer.f is not None else "before" if reducer.before else "weighted"
        raise SpecInvalid(
            f"reducer.{said}: means nothing to the plain average. Choose a robust reducer (reducer.name), "
            "or strategy.weighting."
        )
    if reducer.f is None and (name in NEED_F or reducer.before == "nnm"):
        what = name if name in NEED_F else "nnm"
        raise SpecInvalid(f"reducer.f: {what} needs the number of updates of a round that may be an attacker's.")
    if reducer.weighted and (name not in WEIGHABLE or reducer.before):
        what = f"before = {reducer.before!r}" if reducer.before else name
        raise SpecInvalid(
            f"reducer.weighted: {what} counts all updates alike; {', '.join(sorted(WEIGHABLE))} can weigh."
        )


def _check_counts(spec: JobSpec) -> None:
    reducer, least = spec.reducer, least_updates(spec.reducer)
    if reducer.name != "average" and spec.schedule.asynchronous:
        raise SpecInvalid(
            f"reducer.name: {reducer.name} compares updates that started from one model, and in "
            f'{spec.schedule.kind} they start from several. Choose schedule.kind = "synchronous", or "average".'
        )
    if least > spec.selected:
        raise SpecInvalid(
            f"reducer.f: {reducer.name} needs at least {least} updates for f = {reducer.f or 0}, and a round wants "
            f"{spec.selected} (clients {len(spec.client_names)} x fraction {spec.fraction:g}). Lower f, or ask more."
        )
    if compares(reducer) and spec.selected > CLIENTS_MAX:
        raise SpecInvalid(
            f"reducer.name: {reducer.name} compares all pairs of at most {CLIENTS_MAX} updates, and a round wants "
            f"{spec.selected}. Lower fraction, or choose median or trimmed-mean."
        )
