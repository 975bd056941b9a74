"""Runs one cell: Warren's embedded run, its leader, its trainers, its evaluation; followed until it ends."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cell import Cell, Curve, Result, crossing

from warren.aggregator.record import Record
from warren.cli.embedded import Embedded, logged_to
from warren.cli.submission import resolve_words, store_job
from warren.cli.toml_text import write_toml
from warren.storage import keys
from warren.storage.documents import Evaluation, Manifest, read_document
from warren.storage.folder import FolderStore
from warren.storage.job import JobSpec

LOOK_SECONDS = 0.5
EVALUATION_BYTES_MAX = 16 << 20


class Ended(Exception):
    """The job ended in a way that is no result."""


def run_cell(cell: Cell, data_dir: Path | None, trainers: int) -> Result:
    """Run the cell's job from its first round. Raises Ended."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="warren-fidelity-", ignore_cleanup_errors=True) as place:
        root = Path(place) / "runs"
        spec = _stored(cell, Path(place), root)
        log = Path(place) / "log"
        with logged_to(log), Embedded(root, spec, trainers=trainers, device="cpu", data_dir=data_dir) as embedded:
            result = Result(cell.digest)
            follower = _Follower(FolderStore(root), spec, cell, result)
            while not follower.over():
                embedded.check()
                time.sleep(LOOK_SECONDS)
        follower.conclude()
        result.seconds = time.perf_counter() - begun
        if result.ended not in (*cell.ends, "target"):
            raise Ended(f"{cell.name}: {result.ended}: {result.reason}\n{_tail(log)}")
    return result


def _stored(cell: Cell, place: Path, root: Path) -> JobSpec:
    job = {**cell.job, "torch_threads": 1, "keep_updates": 0, "keep_checkpoints": "2"}
    path = place / "job.toml"
    path.write_text(write_toml(job))
    spec, task = resolve_words(str(path), (), ())
    store_job(FolderStore(root), spec, task)
    return spec


def _tail(log: Path) -> str:
    return "\n".join(log.read_text().splitlines()[-20:]) if log.exists() else ""


class _Follower:
    """Reads the evaluations as they are frozen, and says when the run is over."""

    def __init__(self, store: FolderStore, spec: JobSpec, cell: Cell, result: Result) -> None:
        self._store = store
        self._spec = spec
        self._cell = cell
        self._result = result
        self._record = Record(store, spec.job)
        self._read: set[str] = set()

    def over(self) -> bool:
        """Whether the job has ended, or reached the target with no earlier evaluation still open."""
        control = self._record.control()
        self._take_evaluations()
        if control.command == "pause" and self._evaluations_open():
            return False
        if control.command != "run":
            self._result.ended, self._result.reason = control.command, control.reason
            return True
        if self._cell.target is None:
            return False
        curve = self._result.curves.get("test accuracy", [])
        reached = next((number for number, value in curve if value >= self._cell.target), None)
        if reached is None or crossing(curve, self._cell.target) is None:
            return False
        due = range(self._spec.evaluate.every, reached + 1, self._spec.evaluate.every)
        if not {keys.evaluation(self._spec.job, number) for number in due} <= self._read:
            return False
        self._result.ended = "target"
        return True

    def _evaluations_open(self) -> bool:
        """Whether rounds that were committed before a pause are still being evaluated."""
        committed = sum(info.key != keys.manifest(self._spec.job, 0) for info in self._store.list(self._manifests_at))
        every = self._spec.evaluate.every
        return every > 0 and len(self._read) < committed // every

    @property
    def _manifests_at(self) -> str:
        return keys.manifests(self._spec.job)

    def conclude(self) -> None:
        """What is written at the end: the last evaluations, and the manifests' facts."""
        self._take_evaluations()
        losses: Curve = []
        self._result.curves["seconds"] = self._clocked()
        for manifest in self._manifests():
            self._result.bytes += sum(entry.size for entry in manifest.entries) if manifest.round else 0
            self._result.lost += len(manifest.failed) + len(manifest.rejected)
            if "loss" in manifest.metrics and manifest.round:
                losses.append((manifest.round, manifest.metrics["loss"]))
        if losses:
            self._result.curves["training loss"] = losses

    def _clocked(self) -> Curve:
        """When each round was frozen, in seconds from the initial model, by the clock of the store's files."""
        paths = [self._store.local_path(info.key) for info in self._store.list(self._manifests_at)]
        frozen = [path.stat().st_mtime for path in paths if path is not None]
        return [(number, at - frozen[0]) for number, at in enumerate(frozen) if number]

    def _manifests(self) -> Iterator[Manifest]:
        for info in self._store.list(self._manifests_at):
            yield read_document(Manifest, self._store.read(info.key), info.key)

    def _take_evaluations(self) -> None:
        for info in self._store.list(keys.evaluations(self._spec.job)):
            if info.key not in self._read:
                self._read.add(info.key)
                body = self._store.read(info.key, limit=EVALUATION_BYTES_MAX)
                self._add(read_document(Evaluation, body, info.key))
        for curve in self._result.curves.values():
            curve.sort()

    def _add(self, evaluation: Evaluation) -> None:
        for place, metrics in (("test", evaluation.held_out), ("validation", evaluation.validation)):
            for name, value in metrics.items():
                self._result.curves.setdefault(f"{place} {name}", []).append((evaluation.round, value))
