"""Labelling models: what stands on them, in which order, and that a store's trouble stays its own."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from warren.aggregator.labelling import WAITING_MAX, Labelling, labels
from warren.storage import keys
from warren.storage.documents import Evaluation, write_document
from warren.storage.errors import ObjectMissing, StorageError, StorageUnavailable
from warren.storage.folder import FolderStore
from warren.storage.job import JobSpec, TaskRef

JOB = "lung-aaa111"
SPEC = JobSpec(job=JOB, task=TaskRef(name="t", file="t.py", digest="0" * 64), clients=2, rounds=3)
EVALUATION = Evaluation(job=JOB, round=2, held_out={"accuracy": 0.91666}, validation={"accuracy": 0.8, "loss": 0.3})


class Labelled(FolderStore):
    """A folder that keeps labels, or fails."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.labels: list[tuple[str, dict[str, str]]] = []
        self.fails: StorageError | None = None
        self.gate = threading.Event()
        self.gate.set()

    def label(self, key: str, labels: Mapping[str, str]) -> None:
        assert self.gate.wait(30)
        if self.fails is not None:
            raise self.fails
        self.labels.append((key, dict(labels)))


@pytest.fixture
def store(tmp_path: Path) -> Labelled:
    return Labelled(tmp_path)


def drained(labelling: Labelling) -> None:
    """All that was told is done: the thread takes things in turn."""
    labelling._thread.submit(lambda: None).result(30)


def test_a_model_shows_its_round_its_state_and_what_checkpoint_list_shows() -> None:
    assert labels("committed", 2, None) == {"round": "2", "state": "committed"}
    assert labels("evaluated", 2, EVALUATION) == {
        "round": "2",
        "state": "evaluated",
        "accuracy": "0.9167",
        "loss": "0.3",
    }
    assert labels("final", 3, None) == {"round": "3", "state": "final"}


def test_what_was_not_evaluated_after_all_stays_committed_and_numbers_that_are_none_are_left_out() -> None:
    assert labels("evaluated", 2, None)["state"] == "committed"
    broken = Evaluation(job=JOB, round=2, validation={"accuracy": 0.5})
    broken.validation["loss"] = float("nan")
    assert labels("best", 2, broken) == {"round": "2", "state": "best", "accuracy": "0.5"}


def test_models_are_labelled_in_the_order_in_which_they_got_on(store: Labelled) -> None:
    store.create(keys.evaluation(JOB, 2), write_document(EVALUATION))
    labelling = Labelling(store)
    for stage in ("committed", "evaluated", "best"):
        labelling.told(SPEC, stage, 2)
    labelling.told(SPEC, "final", 3)
    drained(labelling)
    checkpoint = keys.checkpoint(JOB, 2)
    assert [(key, found["state"], found.get("accuracy")) for key, found in store.labels] == [
        (checkpoint, "committed", None),
        (checkpoint, "evaluated", "0.9167"),
        (keys.derived(JOB, "best.safetensors"), "best", "0.9167"),
        (keys.derived(JOB, "final.safetensors"), "final", None),
    ]
    labelling.close()


@pytest.mark.parametrize("error", [StorageUnavailable("full"), ObjectMissing("collected")])
def test_a_store_that_does_not_label_now_costs_that_label_only(error: StorageError, store: Labelled) -> None:
    labelling = Labelling(store)
    store.fails = error
    labelling.told(SPEC, "committed", 1)
    drained(labelling)
    store.fails = None
    labelling.told(SPEC, "committed", 2)
    drained(labelling)
    assert [key for key, _ in store.labels] == [keys.checkpoint(JOB, 2)]
    labelling.close()


def test_a_store_that_hangs_holds_up_nobody_and_no_more_than_the_bound_waits(store: Labelled) -> None:
    labelling = Labelling(store)
    store.gate.clear()
    for number in range(WAITING_MAX + 50):
        labelling.told(SPEC, "committed", number)  # returns, or this test would run into its time limit
    store.gate.set()
    drained(labelling)
    assert len(store.labels) == WAITING_MAX
    labelling.close()


def test_models_that_were_given_up_while_they_waited_are_not_labelled(store: Labelled) -> None:
    labelling, spec = Labelling(store), SPEC.model_copy(update={"keep_checkpoints": "2", "rounds": 60})
    for number in range(50):
        labelling.told(spec, "committed", number)
    drained(labelling)
    labelled = [key for key, _ in store.labels]
    assert labelled[-2:] == [keys.checkpoint(JOB, 48), keys.checkpoint(JOB, 49)]
    assert len(labelled) < 50
    labelling.close()


def test_a_store_without_labels_is_asked_for_nothing(tmp_path: Path) -> None:
    labelling = Labelling(FolderStore(tmp_path))
    labelling.told(SPEC, "committed", 1)
    drained(labelling)
    labelling.close()
