"""How unequal a model serves its clients: each metric's spread over them, beside the mean."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from ..storage.documents import ClientResult, Spread

CLIENT_ROWS_MAX = 1000  # in one document; of more clients the worst stand there, the spread is over all
WORST_SHARE = 10  # a tenth


def lower_is_better(metric: str) -> bool:
    """Losses, by their name; every other metric is better when it is higher."""
    return metric.startswith("loss")


def spread_of(values: Mapping[str, float], *, lower_better: bool) -> Spread:
    """The spread of one metric.

    Args:
        values: of at least one client, finite, by its name. Each client counts alike, whatever its examples.
        lower_better: whether the highest is the worst.

    Quartiles interpolate between the values (Hyndman and Fan 1996, type 7). The worst decile is the mean of the
    worst tenth of the clients, at least one of them (the "worst 10 %" of Li et al. 2020, Fair Resource
    Allocation in Federated Learning, table 1); of clients that are equal the first by name is the worst.
    """
    worst_first = sorted(values, key=lambda client: (values[client] if not lower_better else -values[client], client))
    decile = worst_first[: math.ceil(len(values) / WORST_SHARE)]
    ordered = sorted(values.values())
    return Spread(
        clients=len(ordered),
        min=ordered[0],
        q1=_quantile(ordered, 0.25),
        median=_quantile(ordered, 0.5),
        q3=_quantile(ordered, 0.75),
        max=ordered[-1],
        deviation=_deviation(ordered),
        worst_decile=_mean([values[client] for client in decile]),
        worst=worst_first[0],
    )


def _quantile(ordered: list[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    low, high, share = ordered[below], ordered[above], place - below
    return low if low == high else (1 - share) * low + share * high


def _mean(values: list[float]) -> float:
    return sum(value / len(values) for value in values)  # divided first: a peer may say 1e308


def _deviation(values: list[float]) -> float:
    mean = _mean(values)
    return math.hypot(*(value - mean for value in values)) / math.sqrt(len(values))  # infinite where it overflows


def spreads(results: Mapping[str, ClientResult]) -> dict[str, Spread]:
    """The spread of each metric over the clients that report it, finite ones only; by the metric's name."""
    found: dict[str, dict[str, float]] = {}
    for client, result in results.items():
        for name, value in result.metrics.items():
            if math.isfinite(value):
                found.setdefault(name, {})[client] = value
    return {name: spread_of(found[name], lower_better=lower_is_better(name)) for name in sorted(found)}


def kept_rows(results: Mapping[str, ClientResult], best: str) -> dict[str, ClientResult]:
    """The clients whose rows are written down, in client order: all, or of too many those worst by this metric.

    Those that do not report it come last; where nobody does, the loss decides, then the name.
    """
    if len(results) <= CLIENT_ROWS_MAX:
        return dict(results)
    metric = best if any(best in result.metrics for result in results.values()) else "loss"
    sign = -1.0 if lower_is_better(metric) else 1.0

    def badness(client: str) -> tuple[float, str]:
        value = results[client].metrics.get(metric, math.nan)
        return (sign * value if math.isfinite(value) else math.inf, client)

    return {client: results[client] for client in sorted(sorted(results, key=badness)[:CLIENT_ROWS_MAX])}


def bounded_reasons(reasons: Iterable[tuple[str, str]]) -> dict[str, str]:
    """As many reasons as rows, each cut: an evaluation asks up to 100,000 clients."""
    named = list(reasons)
    kept = {who: why[:_REASON_CHARACTERS_MAX] for who, why in named[:CLIENT_ROWS_MAX]}
    if len(named) > CLIENT_ROWS_MAX:
        kept["others"] = f"{len(named) - CLIENT_ROWS_MAX} more"
    return kept


_REASON_CHARACTERS_MAX = 2_000
