"""Trackers, each with its real package and offline: what was told is read back; one that fails harms no job."""

from __future__ import annotations

import os
import signal
import sqlite3
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from warren.aggregator import tracking
from warren.aggregator.tracked import Rows, settings_of
from warren.aggregator.tracking import Tracking
from warren.storage import keys
from warren.storage.documents import Control, Entry, Evaluation, Manifest, Spread, write_document
from warren.storage.errors import SpecInvalid
from warren.storage.folder import FolderStore
from warren.storage.job import JobSpec, make_spec, write_spec
from warren.storage.simulated import SimulatedLedger

ENTRY = Entry(client="c0", source="pool.p", attempt="a", digest="0" * 64, size=1000, examples=10)
AT = "2026-03-01T10:00:00+00:00"
SPREAD = Spread(clients=3, min=0.2, q1=0.3, median=0.5, q3=0.6, max=0.9, deviation=0.1, worst_decile=0.2, worst="c0")


def spec(*to: str) -> JobSpec:
    task = {"name": "t", "file": "t.py", "digest": "0" * 64}
    return make_spec({"job": "lung-1", "task": task, "rounds": 3, "track": {"to": to}})


def freeze(store: FolderStore, number: int) -> None:
    document = Manifest(job="lung-1", round=number, entries=(ENTRY,), asked=2, metrics={"loss": 1 / (1 + number)})
    store.create(keys.manifest("lung-1", number), write_document(document.model_copy(update={"frozen_at": AT})))


def evaluate(store: FolderStore, number: int) -> None:
    document = Evaluation(
        job="lung-1", round=number, validation={"accuracy": number / 10}, spread={"accuracy": SPREAD}, at=AT
    )
    store.create(keys.evaluation("lung-1", number), write_document(document))


def end(store: FolderStore) -> None:
    store.create(keys.control("lung-1", 1), write_document(Control(command="done")))


@pytest.fixture
def house(tmp_path: Path) -> SimpleNamespace:
    store, ledger = FolderStore(tmp_path / "runs"), SimulatedLedger(lambda: 0.0)
    store.create(keys.spec("lung-1"), write_spec(spec()))
    for number in range(3):
        freeze(store, number)
    for number in (2, 1):
        evaluate(store, number)
    folder = tmp_path / "tracking"
    return SimpleNamespace(store=store, ledger=ledger, folder=folder, tracking=Tracking(store, ledger, folder))


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "FINISH_SECONDS", 200.0)  # a busy machine imports MLflow in half a minute
    for name in ("MLFLOW_TRACKING_URI", "WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)


def tell(house: SimpleNamespace, *to: str) -> None:
    """Lead the job, as far as trackers see it; return when they have ended."""
    with house.tracking.of(spec(*to)):
        pass
    house.tracking.close()


def warnings(house: SimpleNamespace) -> dict[str, str]:
    return {name: words for name, words in house.ledger.progress("lung-1").items() if words}


def test_tensorboard_reads_back_every_round_also_after_a_second_telling(house: SimpleNamespace) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tell(house, "tensorboard")
    end(house.store)
    tell(house, "tensorboard")
    read = EventAccumulator(str(house.folder / "tensorboard" / "lung-1"))
    read.Reload()
    scalars = read.Scalars("train/loss")
    assert [(one.step, round(one.value, 4)) for one in scalars] == [(0, 1.0), (1, 0.5), (2, 0.3333)]
    assert [one.step for one in read.Scalars("validation/accuracy")] == [1, 2]
    assert read.Scalars("spread/accuracy_worst_decile")[0].value == pytest.approx(0.2)
    assert scalars[0].wall_time == 1772359200.0, "when it was frozen, not when it was told"
    assert "settings" in read.Tags()["tensors"]
    assert warnings(house) == {}


def test_mlflow_has_one_run_a_job_with_no_point_twice(house: SimpleNamespace) -> None:
    from mlflow.tracking import MlflowClient

    tell_until(house, "mlflow", lambda: points(house) > 20)
    freeze(house.store, 3)
    end(house.store)
    tell(house, "mlflow")
    client = MlflowClient(tracking_uri=f"sqlite:///{house.folder}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("warren")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("lung-1", "FINISHED")
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(one.step, one.value) for one in history] == [(0, 1.0), (1, 0.5), (2, 1 / 3), (3, 0.25)]
    assert run.data.metrics["spread/accuracy_worst_decile"] == 0.2
    assert (run.data.params["rounds"], run.data.params["train.lr"]) == ("3", "0.1")
    assert warnings(house) == {}


def points(house: SimpleNamespace) -> int:
    """How many numbers MLflow's file holds now."""
    try:
        with sqlite3.connect(house.folder / "mlflow" / "mlflow.db", timeout=5) as file:
            return int(file.execute("select count(*) from metrics").fetchone()[0])
    except sqlite3.OperationalError:  # not made yet
        return 0


def tell_until(house: SimpleNamespace, tracker: str, enough: Any) -> None:
    """Lead the job until the tracker has so much, and let it go: it goes on elsewhere."""
    with house.tracking.of(spec(tracker)):
        waiting = threading.Event()
        for _ in range(600):
            if enough():
                break
            waiting.wait(0.2)
    house.tracking.close()


def test_wandb_writes_an_offline_run_with_each_round_as_its_step(house: SimpleNamespace) -> None:
    end(house.store)
    tell(house, "wandb")
    (file,) = house.folder.glob("wandb/offline-run-*/run-*.wandb")
    told = list(wandb_records(file))
    history = [dict(items(record.history.item)) for record in told if record.WhichOneof("record_type") == "history"]
    assert [row["round"] for row in history] == ["0", "1", "2", "1", "2"], "evaluations come after"
    assert history[1]["train/loss"] == "0.5"
    assert history[3]["validation/accuracy"] == "0.1"
    (run,) = [record.run for record in told if record.WhichOneof("record_type") == "run"]
    assert (run.project, run.display_name, run.run_group) == ("warren", "lung-1", "lung-1")
    assert "train.lr" in dict(items(run.config.update))
    assert warnings(house) == {}


def items(found: Any) -> Iterator[tuple[str, str]]:
    return ((item.key or ".".join(item.nested_key), item.value_json) for item in found)


def wandb_records(file: Path) -> Iterator[Any]:
    """The records of a run's file: LevelDB's log format (blocks of 32 KiB) after 7 bytes of W&B's own."""
    from wandb.proto.wandb_internal_pb2 import Record

    body, place, parts = file.read_bytes(), 7, b""
    assert body.startswith(b":W&B")
    while place + 7 <= len(body):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", body, place)
        parts += body[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record, parts = Record(), b""
            record.ParseFromString(body[place - length : place])
            yield record


def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """Put a package `wandb` of this source before the real one."""
    folder = tmp_path / "broken" / "wandb"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(source)
    others = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(part for part in (str(folder.parent), others) if part))


def test_a_package_that_is_missing_is_named_with_how_to_get_it(
    house: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(tmp_path, monkeypatch, "raise ModuleNotFoundError('no', name='wandb')")
    tell(house, "wandb")
    assert warnings(house) == {"tracker.wandb": "is not installed here (wandb): pip install 'warren[track]'"}


def test_a_tracker_without_a_folder_says_how_to_give_one(house: SimpleNamespace) -> None:
    house.tracking = Tracking(house.store, house.ledger, None)
    tell(house, "tensorboard")
    assert "--tracking DIR" in warnings(house)["tracker.tensorboard"]


def test_a_tracker_that_crashes_is_begun_again_and_named(
    house: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = tmp_path / "tried"
    broken(tmp_path, monkeypatch, f"import os\nopen({str(tried)!r}, 'a').write('x')\nos.abort()")
    monkeypatch.setattr(tracking, "RETRY_SECONDS", (0.05, 600.0))
    with house.tracking.of(spec("wandb")):
        waiting = threading.Event()
        while not tried.exists() or len(tried.read_text()) < 2:
            waiting.wait(0.1)
    house.tracking.close()
    assert warnings(house) == {"tracker.wandb": f"ended with {-signal.SIGABRT}"}


def test_a_tracker_that_hangs_is_stopped_and_holds_nobody_up(
    house: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(tmp_path, monkeypatch, "import time\ntime.sleep(600)")
    monkeypatch.setattr(tracking, "LEAVE_SECONDS", 0.2)
    tell(house, "wandb")
    assert warnings(house) == {"tracker.wandb": "did not finish in 0.2 s, and was stopped"}


def test_a_job_without_trackers_starts_nothing(house: SimpleNamespace) -> None:
    before = threading.active_count()
    with house.tracking.of(spec()):
        assert threading.active_count() == before
    assert not house.folder.exists()


def test_each_document_is_told_once_and_a_late_evaluation_too(house: SimpleNamespace) -> None:
    rows = Rows(house.store, spec())
    assert [row["round"] for row in rows.new()] == [0, 1, 2, 1, 2]
    assert list(rows.new()) == []
    freeze(house.store, 3)
    house.store.create(keys.evaluation("lung-1", 0), b"{}")  # damaged
    assert [row["round"] for row in rows.new()] == [3]


def test_what_is_not_finite_is_not_told(house: SimpleNamespace) -> None:
    document = Manifest(job="lung-1", round=3, entries=(), metrics={"loss": float("nan"), "f1": 0.5})
    house.store.create(keys.manifest("lung-1", 3), write_document(document))
    last = list(Rows(house.store, spec()).new())[3]
    assert last["metrics"]["train/f1"] == 0.5
    assert "train/loss" not in last["metrics"]


def test_settings_are_told_and_no_job_can_name_an_address_or_a_key(house: SimpleNamespace) -> None:
    told = settings_of(spec("mlflow"))
    assert (told["task.file"], told["track.experiment"]) == ("t.py", "warren")
    with pytest.raises(SpecInvalid, match=r"track\.experiment"):
        make_spec({**spec().model_dump(), "track": {"to": ["wandb"], "experiment": "http://user:key@host"}})
    with pytest.raises(SpecInvalid, match=r"track\.to"):
        make_spec({**spec().model_dump(), "track": {"to": ["comet"]}})


def test_secrets_of_ours_are_not_in_the_trackers_environment(
    house: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    monkeypatch.setenv("WARREN_AMQP_PASSWORD", "hidden")
    broken(
        tmp_path, monkeypatch, f"import os\nopen({str(seen)!r}, 'w').write(repr(dict(os.environ)))\nraise ImportError"
    )
    tell(house, "wandb")
    assert "PYTHONPATH" in seen.read_text()
    assert "hidden" not in seen.read_text()
