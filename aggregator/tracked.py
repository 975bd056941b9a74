"""A job's documents as what a tracker is told: one line of numbers for each frozen round and each evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from ..storage import keys
from ..storage.documents import Evaluation, Manifest, read_document
from ..storage.errors import ObjectDamaged
from ..storage.job import JobSpec
from ..storage.objects import ObjectStore
from .results import SPREAD

Row = dict[str, Any]  # round, at (seconds since 1970, or None), metrics
TEXT_CHARACTERS_MAX = 500  # of one setting


class Rows:
    """What a job's store has that was not told yet. Documents never change, so each is read once."""

    def __init__(self, store: ObjectStore, spec: JobSpec) -> None:
        self._store = store
        self._job = spec.job
        self._manifest = ""
        self._evaluated: set[str] = set()

    def new(self) -> Iterator[Row]:
        """Rounds in order, then evaluations, which may come in any. What is damaged is passed over.

        Raises:
            StorageError: as the store does; the next call goes on where this one stopped.
        """
        for info in self._store.list(keys.manifests(self._job), after=self._manifest):
            yield from self._read(Manifest, info.key, round_row)
            self._manifest = info.key
        for info in self._store.list(keys.evaluations(self._job)):
            if info.key not in self._evaluated:
                yield from self._read(Evaluation, info.key, evaluation_row)
                self._evaluated.add(info.key)

    def _read(self, kind: Any, key: str, row: Any) -> Iterator[Row]:
        try:
            yield row(read_document(kind, self._store.read(key), key))
        except ObjectDamaged:
            return


def round_row(manifest: Manifest) -> Row:
    """What a frozen round says: who counted, how long it took, the clients' own training metrics."""
    metrics = {
        "clients/asked": manifest.asked,
        "clients/valid": len(manifest.entries),
        "clients/rejected": len(manifest.rejected),
        "clients/failed": len(manifest.failed),
        "clients/silent": len(manifest.silent),
        "round/seconds": manifest.seconds,
        "round/examples": sum(entry.examples for entry in manifest.entries),
        "round/update_bytes": sum(entry.size for entry in manifest.entries),
    }
    return _row(manifest.round, manifest.frozen_at, metrics | _named("train", manifest.metrics))


def evaluation_row(evaluation: Evaluation) -> Row:
    """What an evaluation says: means, and their spread over the clients."""
    metrics = _named("validation", evaluation.validation) | _named("held_out", evaluation.held_out)
    for name, spread in evaluation.spread.items():
        metrics |= {f"spread/{name}_{part}": getattr(spread, part) for part in SPREAD}
    return _row(evaluation.round, evaluation.at, metrics)


def _named(group: str, metrics: Mapping[str, float]) -> dict[str, float]:
    return {f"{group}/{name}": value for name, value in metrics.items()}


def _row(round_number: int, at: str, metrics: Mapping[str, float]) -> Row:
    finite = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
    return {"round": round_number, "at": _seconds(at), "metrics": finite}


def _seconds(at: str) -> float | None:
    try:
        return datetime.fromisoformat(at).timestamp()
    except ValueError:
        return None


def settings_of(spec: JobSpec) -> dict[str, str]:
    """The job's settings by dotted name, as text."""
    return dict(_flat("", spec.model_dump()))


def _flat(path: str, fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(f"{path}{key}.", value)
        elif value is not None:
            yield f"{path}{key}", str(value)[:TEXT_CHARACTERS_MAX]
