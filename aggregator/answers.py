"""The metrics of several clients as one: computed from their counts, added up; where none came, means by examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..storage import counting
from .account import weighted_metrics

METRICS_MAX = 64  # of one document


@dataclass(frozen=True, slots=True)
class Answer:
    """What one client told of a checkpoint.

    Attributes:
        metrics: as the client computed them from its own counts.
        counts: as they came: from a peer, so nothing is taken for granted.
        counted: the metrics that follow from counts and are no mean. A client may name one that it could not
            compute alone, such as the AUROC of a client with one class.
    """

    examples: int
    metrics: Mapping[str, float]
    counts: counting.Counts = field(default_factory=dict)
    counted: Sequence[str] = ()


def merged_metrics(answers: Iterable[Answer]) -> dict[str, float]:
    """Each metric as over all examples of all clients, in the order of names.

    A metric that some client tells without counts (a trainer of an older version) is the mean weighted by
    examples, over the clients that tell it.
    """
    given = [answer for answer in answers if answer.examples > 0]
    found = weighted_metrics((answer.examples, answer.metrics) for answer in given)
    counts = [counting.sound(answer.counts) for answer in given]
    total = counting.add(counts)
    named = {name for answer in given for name in answer.counted}
    for name in sorted(named):
        if all(name in answer.counted or name not in answer.metrics for answer in given):
            _replace(found, name, counting.measure(name, total))
    for key in total:
        name = key.removeprefix(counting.SUM)
        told = [part for part, answer in zip(counts, given, strict=True) if name in answer.metrics]
        if key != name and name in found.keys() - named and all(key in part for part in told):
            _replace(found, name, total[key][0] / total[key][1])
    return {name: found[name] for name in sorted(found)[:METRICS_MAX]}


def _replace(found: dict[str, float], name: str, value: float | None) -> None:
    """Set a metric to what the counts say; where they don't, it is not known."""
    if value is None:
        found.pop(name, None)
    else:
        found[name] = value
