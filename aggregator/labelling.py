"""Labels on models, for whoever browses the store: round, state, accuracy. Off the rounds' path; one may be lost."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from ..storage import keys
from ..storage.documents import Evaluation, read_document
from ..storage.errors import ObjectMissing, StorageError
from ..storage.job import JobSpec
from ..storage.labels import KeepsLabels
from ..storage.objects import ObjectStore
from .ports import Stage

WAITING_MAX = 1000  # what comes while so many wait is dropped: a store that answers labels 1000 models in seconds
METRICS = ("accuracy", "loss")

log = logging.getLogger("warren.aggregator")


class Labelling:
    """Labels in the order in which it is told, by a thread of its own; in a store that keeps none, does nothing."""

    def __init__(self, store: ObjectStore) -> None:
        self._objects = store
        self._labels = store if isinstance(store, KeepsLabels) else None
        self._room = threading.Semaphore(WAITING_MAX)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="warren-labels")

    def told(self, spec: JobSpec, stage: Stage, round_number: int) -> None:
        """A model got so far: label it, later. Raises nothing."""
        if self._labels is not None and self._room.acquire(blocking=False):
            self._thread.submit(self._label, self._labels, spec, stage, round_number)

    def close(self) -> None:
        """What waits is dropped; what is under way ends."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _label(self, store: KeepsLabels, spec: JobSpec, stage: Stage, round_number: int) -> None:
        try:
            evaluation = None if stage == "committed" else self._evaluation(spec.job, round_number)
            store.label(_key(spec.job, stage, round_number), labels(stage, round_number, evaluation))
        except ObjectMissing:
            log.debug("model is gone already", extra={"job": spec.job, "round": round_number})
        except StorageError as error:
            log.warning("model not labelled: %s", error, extra={"job": spec.job, "round": round_number})
        except Exception:
            log.exception("model not labelled", extra={"job": spec.job, "round": round_number})
        finally:
            self._room.release()

    def _evaluation(self, job: str, round_number: int) -> Evaluation | None:
        key = keys.evaluation(job, round_number)
        try:
            return read_document(Evaluation, self._objects.read(key), key)
        except ObjectMissing:
            return None


def labels(stage: Stage, round_number: int, evaluation: Evaluation | None) -> Mapping[str, str]:
    """What stands on a model: its round, how far it got, and accuracy and loss where they were measured.

    They are those of `warren checkpoint list`: on held-out data, else on the clients' validation shares.
    """
    state = "committed" if stage == "evaluated" and evaluation is None else stage
    found = {"round": str(round_number), "state": state}
    if evaluation is None:
        return found
    measured = {**evaluation.validation, **evaluation.held_out}
    numbers = {name: measured[name] for name in METRICS if math.isfinite(measured.get(name, math.nan))}
    return found | {name: f"{value:.4g}" for name, value in numbers.items()}


def _key(job: str, stage: Stage, round_number: int) -> str:
    if stage in ("best", "final"):
        return keys.derived(job, f"{stage}.safetensors")
    return keys.checkpoint(job, round_number)
