"""The results of a job as numbers: metrics averaged by examples, and metrics.csv with one row a round."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:  # a process that draws needs none of them
    from ..storage.documents import Evaluation, Manifest


class Numbered(Protocol):
    """Something of a round."""

    @property
    def round(self) -> int: ...


OfRound = TypeVar("OfRound", bound=Numbered)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a round's manifest what tables and pictures show: all rounds of a job stand in memory, not their entries."""

    round: int
    asked: int
    quorum: int
    valid: int
    rejected: int
    failed: int
    silent: int
    examples: int
    seconds: float
    metrics: Mapping[str, float]
    took: Mapping[str, float]  # seconds from asking each client to its update, where that was measured


def outcome_of(manifest: Manifest) -> Outcome:
    entries = manifest.entries
    return Outcome(
        round=manifest.round,
        asked=manifest.asked,
        quorum=manifest.quorum,
        valid=len(entries),
        rejected=len(manifest.rejected),
        failed=len(manifest.failed),
        silent=len(manifest.silent),
        examples=sum(entry.examples for entry in entries),
        seconds=manifest.seconds,
        metrics=manifest.metrics,
        took={entry.client: entry.took for entry in entries if entry.took is not None},
    )


def average_metrics(results: Iterable[tuple[int, Mapping[str, float]]]) -> dict[str, float]:
    """Metrics of several clients as one: each weighted by its examples, over those clients that report it.

    Args:
        results: (examples, metrics) of each client; a mean over n examples stands for n of them, so that
            an accuracy comes out as counted over all examples. What is not finite is left out.
    """
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for examples, metrics in results:
        for name, value in metrics.items():
            if examples > 0 and math.isfinite(value):
                sums[name] = sums.get(name, 0.0) + examples * value
                counts[name] = counts.get(name, 0) + examples
    return {name: sums[name] / counts[name] for name in sorted(sums)}


def metrics_csv(outcomes: Iterable[Outcome], evaluations: Sequence[Evaluation]) -> bytes:
    """One row a round, in order, round 0 included: who took part, and each metric where it is known.

    Columns: round, asked, quorum, valid, rejected, failed, silent, examples, seconds, then train_<metric>,
    validation_<metric> and held_out_<metric> by name, then of each metric its spread over the clients'
    validation shares, clients_<metric>_min to _worst_decile. An empty field: not measured.
    """
    evaluated = {evaluation.round: evaluation for evaluation in evaluations}
    rows = [_row(outcome, evaluated.get(outcome.round)) for outcome in by_round(outcomes)]
    extra = {key for row in rows for key in row}
    columns = [*_FIRST, *(key for group in _GROUPS for key in sorted(extra) if key.startswith(group))]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


_COUNTS = ("round", "asked", "quorum", "valid", "rejected", "failed", "silent", "examples")
_FIRST = (*_COUNTS, "seconds")
_GROUPS = ("train_", "validation_", "held_out_", "clients_")
SPREAD = ("min", "q1", "median", "q3", "max", "deviation", "worst_decile")


def by_round(manifests: Iterable[OfRound]) -> list[OfRound]:
    return sorted(manifests, key=lambda manifest: manifest.round)


def _row(outcome: Outcome, evaluation: Evaluation | None) -> dict[str, str]:
    row = {name: str(getattr(outcome, name)) for name in _COUNTS} | {"seconds": f"{outcome.seconds:.3f}"}
    row |= {f"train_{name}": repr(value) for name, value in outcome.metrics.items()}
    if evaluation is not None:
        row |= {f"validation_{name}": repr(value) for name, value in evaluation.validation.items()}
        row |= {f"held_out_{name}": repr(value) for name, value in evaluation.held_out.items()}
        for name, spread in evaluation.spread.items():
            row |= {f"clients_{name}_{part}": repr(getattr(spread, part)) for part in SPREAD}
    return row
