"""Flower's aggregates. COUNT DISTINCT ITEMS REPEATS arrays|records

`arrays`: flwr.server.strategy.aggregate. `records`: what its strategies of messages use today; the records hold their
arrays as serialised .npy and are made beforehand, unmeasured.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version

import folded
import numpy as np

WAY = sys.argv[5]

if WAY == "arrays":
    from flwr.server.strategy.aggregate import aggregate
else:
    from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
    from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords


def of_arrays(given: list[folded.Update], examples: Sequence[int]) -> list[np.ndarray]:
    average: list[np.ndarray] = aggregate(list(zip(given, examples, strict=True)))
    return average


class OfRecords:
    """Replies of clients, as messages bring them."""

    def __init__(self) -> None:
        self._records: list[RecordDict] = []

    def prepare(self, given: list[folded.Update], examples: Sequence[int]) -> None:
        made: dict[int, ArrayRecord] = {}  # updates that stand for several share theirs
        for update, count in zip(given, examples, strict=True):
            if id(update) not in made:
                made[id(update)] = ArrayRecord({f"layer{n}": Array(layer) for n, layer in enumerate(update)})
            metrics = MetricRecord({"examples": float(count)})
            self._records.append(RecordDict({"arrays": made[id(update)], "metrics": metrics}))

    def average(self, given: list[folded.Update], examples: Sequence[int]) -> list[np.ndarray]:
        found = aggregate_arrayrecords(self._records, "examples")
        return [array.numpy() for array in found.values()]


about = f"flwr {version('flwr')}"
if WAY == "arrays":
    folded.run(of_arrays, version=about)
else:
    records = OfRecords()
    folded.run(records.average, records.prepare, version=about)
