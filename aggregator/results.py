"""The results of a job as numbers: metrics averaged by examples, and metrics.csv with one row a round."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:  # a process that draws needs none of them
    from ..storage.documents import Evaluation, Manifest


class Numbered(Protocol):
    """Something of a round."""

    @property
    def round(self) -> int: ...


OfRound = TypeVar("OfRound", bound=Numbered)


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


def metrics_csv(manifests: Sequence[Manifest], evaluations: Sequence[Evaluation]) -> bytes:
    """One row a round, in order, round 0 included: who took part, and each metric where it is known.

    Columns: round, asked, quorum, valid, rejected, failed, silent, examples, seconds, then train_<metric>,
    validation_<metric> and held_out_<metric> by name, then of each metric its spread over the clients'
    validation shares, clients_<metric>_min to _worst_decile. An empty field: not measured.
    """
    evaluated = {evaluation.round: evaluation for evaluation in evaluations}
    rows = [_row(manifest, evaluated.get(manifest.round)) for manifest in by_round(manifests)]
    extra = {key for row in rows for key in row}
    columns = [*_FIRST, *(key for group in _GROUPS for key in sorted(extra) if key.startswith(group))]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


_FIRST = ("round", "asked", "quorum", "valid", "rejected", "failed", "silent", "examples", "seconds")
_GROUPS = ("train_", "validation_", "held_out_", "clients_")
SPREAD = ("min", "q1", "median", "q3", "max", "deviation", "worst_decile")


def by_round(manifests: Iterable[OfRound]) -> list[OfRound]:
    return sorted(manifests, key=lambda manifest: manifest.round)


def _row(manifest: Manifest, evaluation: Evaluation | None) -> dict[str, str]:
    counts = {
        "round": manifest.round,
        "asked": manifest.asked,
        "quorum": manifest.quorum,
        "valid": len(manifest.entries),
        "rejected": len(manifest.rejected),
        "failed": len(manifest.failed),
        "silent": len(manifest.silent),
        "examples": sum(entry.examples for entry in manifest.entries),
    }
    row = {key: str(value) for key, value in counts.items()} | {"seconds": f"{manifest.seconds:.3f}"}
    row |= {f"train_{name}": repr(value) for name, value in manifest.metrics.items()}
    if evaluation is not None:
        row |= {f"validation_{name}": repr(value) for name, value in evaluation.validation.items()}
        row |= {f"held_out_{name}": repr(value) for name, value in evaluation.held_out.items()}
        for name, spread in evaluation.spread.items():
            row |= {f"clients_{name}_{part}": repr(getattr(spread, part)) for part in SPREAD}
    return row
