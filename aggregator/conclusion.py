"""What a job leaves behind: the final and the best model, and the derived files. All can be made again."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from ..storage import keys
from ..storage.documents import Evaluation, Manifest, read_document
from ..storage.errors import ObjectDamaged, ObjectMissing
from ..storage.job import JobSpec
from .ports import House
from .record import Record
from .spread import lower_is_better

log = logging.getLogger("warren.aggregator")


class Conclusion:
    """The results of one job."""

    def __init__(self, house: House, spec: JobSpec, record: Record) -> None:
        self._house = house
        self._spec = spec
        self._record = record
        self._best: float | None = None
        self._best_known = False

    def keep_best(self, rounds: Iterable[int]) -> int | None:
        """Copy the checkpoint to `best.safetensors` for each of these evaluated rounds that beats all before.

        Returns:
            The last round that did.
        """
        best = None
        for round_number in rounds:
            self._remember_best(before=round_number)
            key = keys.evaluation(self._spec.job, round_number)
            score = score_of(self._spec, read_document(Evaluation, self._house.store.read(key), key))
            if score is not None and (self._best is None or score > self._best):
                self._copy_best(round_number)
                self._best, best = score, round_number
        return best

    def conclude(self) -> None:
        """Write `final.safetensors`, once."""
        last = keys.checkpoint(self._spec.job, self._spec.rounds)
        metadata = {"round": str(self._spec.rounds)}
        self._house.numbers.copy(last, keys.derived(self._spec.job, "final.safetensors"), tag=None, metadata=metadata)

    def lay_out(self) -> None:
        """Write the derived files: metrics.csv, curves.png."""
        files = self._house.draw(self._spec, self._manifests(), list(self._evaluations()))
        for name, (body, content_type) in files.items():
            key = keys.derived(self._spec.job, name)
            there = self._house.store.stat(key)
            self._house.store.replace(key, body, tag=there.tag if there else None, content_type=content_type)

    def _copy_best(self, round_number: int) -> None:
        target = keys.derived(self._spec.job, "best.safetensors")
        there = self._house.store.stat(target)
        source = keys.checkpoint(self._spec.job, round_number)
        try:
            metadata = {"round": str(round_number)}
            self._house.numbers.copy(source, target, tag=there.tag if there else None, metadata=metadata)
        except ObjectMissing:
            log.warning("best checkpoint is gone already", extra={"job": self._spec.job, "round": round_number})

    def _remember_best(self, before: int) -> None:
        if self._best_known:
            return
        scores = [score_of(self._spec, e) for e in self._evaluations() if e.round < before]
        self._best = max((score for score in scores if score is not None), default=None)
        self._best_known = True

    def _manifests(self) -> Iterator[Manifest]:
        for info in self._house.store.list(keys.manifests(self._spec.job)):
            yield read_document(Manifest, self._house.store.read(info.key), info.key)

    def _evaluations(self) -> Iterator[Evaluation]:
        for info in self._house.store.list(keys.evaluations(self._spec.job)):
            try:
                yield read_document(Evaluation, self._house.store.read(info.key), info.key)
            except ObjectDamaged as error:
                log.warning("evaluation passed over: %s", error, extra={"job": self._spec.job})


def score_of(spec: JobSpec, evaluation: Evaluation) -> float | None:
    """How good a checkpoint is, higher is better: the validation metric that the job names, else least loss.

    Held-out data is not looked at, so that it stays fit to judge the chosen model; a job that keeps no
    validation share has no best checkpoint.
    """
    metrics = evaluation.validation
    name = spec.evaluate.best
    if name in metrics:
        return -metrics[name] if lower_is_better(name) else metrics[name]
    return -metrics["loss"] if "loss" in metrics else None
