"""Labels on models, for whoever browses the store: round, state, accuracy. Off the rounds' path; one may be lost."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from ..storage import keys
from ..storage.documents import Evaluation, read_document
from ..storage.errors import ObjectMissing, StorageError
from ..storage.job import JobSpec
from ..storage.labels import KeepsLabels
from ..storage.objects import ObjectStore
from .ports import Stage
from .retention import checkpoint_kept

WAITING_MAX = 1000  # what comes while so many wait is dropped: a store that answers labels 1000 models in seconds
PAUSE_SECONDS = 1.0  # between two labellings of what was only committed
METRICS = ("accuracy", "loss")

log = logging.getLogger("warren.aggregator")


class Labelling:
    """Labels in the order in which it is told, by a thread of its own; in a store that keeps none, does nothing."""

    def __init__(self, store: ObjectStore) -> None:
        self._objects = store
        self._labels = store if isinstance(store, KeepsLabels) else None
        self._due: list[tuple[JobSpec, Stage, int]] = []  # guarded by the lock, as is `_last`
        self._last: dict[str, int] = {}  # job -> its last commit
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._worked_at = -PAUSE_SECONDS
        self._room = threading.Semaphore(WAITING_MAX)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="warren-labels")

    def told(self, spec: JobSpec, stage: Stage, round_number: int) -> None:
        """A model got so far: label it, later. Raises nothing."""
        if self._labels is None or not self._room.acquire(blocking=False):
            return
        with self._lock:
            self._due.append((spec, stage, round_number))
            if stage == "committed":
                self._last[spec.job] = round_number
        self._thread.submit(self._work, self._labels, stage == "committed")

    def close(self) -> None:
        """What waits is dropped; what is under way ends."""
        self._closing.set()
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _work(self, store: KeepsLabels, patiently: bool) -> None:
        """All that is due. Commits are gathered: of rounds shorter than a pause most models are given up by then."""
        if patiently and self._due:
            self._closing.wait(max(0.0, self._worked_at + PAUSE_SECONDS - time.monotonic()))
        with self._lock:
            due, self._due = self._due, []
        for spec, stage, round_number in due:
            if stage == "committed" and not checkpoint_kept(spec, round_number, self._last[spec.job]):
                self._room.release()
            else:
                self._label(store, spec, stage, round_number)
        if due:
            self._worked_at = time.monotonic()

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
