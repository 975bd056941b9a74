"""What a worker promises of one round job: what leaves it, in which order, and when it acknowledges."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakeredis
import pytest

from warren.broker.completions import News
from warren.broker.memory import MemoryBroker
from warren.broker.messages import Completion, Failure, RoundJob, decode, encode
from warren.broker.ports import Outgoing
from warren.broker.topology import rounds_queue
from warren.storage import keys
from warren.storage.digests import digest_file
from warren.storage.folder import FolderStore
from warren.storage.job import make_spec, write_spec
from warren.storage.ledger import RedisLedger
from warren.trainer.wire import Crashed, Outcome, TaskFailed, Trained, Work
from warren.trainer.worker import Worker

SOURCE = b"def model(): ...\ndef data(client): ...\n"


class Scripted:
    """A training process that gives the outcomes it was told to."""

    def __init__(self, *outcomes: Callable[[Work], Outcome]) -> None:
        self.outcomes = list(outcomes)
        self.works: list[Work] = []

    def begin(self, work: Work) -> None: ...

    def run(self, work: Work, keep_going: Callable[[], bool]) -> Outcome:
        self.works.append(work)
        return self.outcomes.pop(0)(work)

    def close(self) -> None: ...


class Place:
    """A broker, a store and a Redis with one site's job in them."""

    def __init__(self, root: Path, **fields: Any) -> None:
        self.store, self.broker = FolderStore(root / "store"), MemoryBroker()
        client = fakeredis.FakeRedis()
        self.news, self.ledger = News(client), RedisLedger(client)
        self.root = root
        (root / "tasks").mkdir()
        (root / "tasks" / "own.py").write_bytes(SOURCE)
        task = {"name": "own", "file": "own.py", "digest": hashlib.sha256(SOURCE).hexdigest()}
        self.spec = make_spec(
            {"job": "j", "task": task, "sites": ["mary"], "quorum": 1, "share_errors": "full", **fields}
        )
        self.store.create(keys.spec("j"), write_spec(self.spec))
        self.broker.declare([rounds_queue("site.mary")])

    def serve(self, training: Scripted, job: RoundJob, **options: bool) -> list[Completion]:
        """Have one round job served; what was told of it."""
        self.broker.publish([Outgoing(rounds_queue(job.source), encode(job))])
        worker = Worker(
            self.store,
            self.broker,
            self.news,
            self.ledger,
            training,
            name="t1",
            source="site.mary",
            tasks_dir=self.root / "tasks",
            accept_code=False,
            cache=self.root / "cache",
            **options,
        )
        stop = threading.Event()
        serving = threading.Thread(target=worker.run, args=(stop,))
        serving.start()
        told = self.news.read("j", ["site.mary"], {}, 20.0)
        stop.set()
        serving.join(20.0)
        assert not serving.is_alive()
        return [decode(item.body, Completion) for item in told]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def a_job(**fields: object) -> RoundJob:
    return RoundJob.model_validate(
        {"job": "j", "round": 0, "kind": "init", "client": "mary", "source": "site.mary", **fields}
    )


def failing(work: Work) -> Outcome:
    return TaskFailed(Failure(error="KeyError", file="own.py", line=2, id="e1", text="patient Jane Doe"), "trace")


def dying(work: Work) -> Outcome:
    return Crashed("killed by signal 9")


def trained(work: Work) -> Outcome:
    work.output_path.write_bytes(b"an update")
    return Trained(work.output_path, 9, "0" * 64, 5, {})


def test_what_an_exception_says_stays_at_a_site_even_where_the_job_asks_for_it(place: Place) -> None:
    told = place.serve(Scripted(failing), a_job(), share_errors=False)
    assert told[0].failure == Failure(error="KeyError", file="own.py", line=2, id="e1")


def test_a_site_that_shares_its_errors_lets_the_text_out_where_the_job_asks_for_it(place: Place) -> None:
    told = place.serve(Scripted(failing), a_job(), share_errors=True)
    assert told[0].failure is not None
    assert told[0].failure.text == "patient Jane Doe"


def test_an_update_is_stored_before_it_is_told(place: Place) -> None:
    told = place.serve(Scripted(trained), a_job())[0]
    assert told.outcome == "updated"
    key = keys.update("j", 0, "site.mary", "mary", told.attempt)
    assert place.store.read(key) == b"an update"


def test_a_client_that_was_asked_before_is_not_trained_twice(place: Place) -> None:
    place.store.create(keys.update("j", 0, "site.mary", "mary", "earlier"), b"an update")
    training = Scripted()
    told = place.serve(training, a_job(again=True))[0]
    assert (told.attempt, training.works) == ("earlier", [])


def test_an_update_in_a_parcel_is_found_too(place: Place) -> None:
    name = keys.parcel_name([("anne", "hers"), ("mary", "bad"), ("mary", "earlier")])
    place.store.create(keys.parcel("j", 0, "site.mary", name), b"a parcel")
    training = Scripted()
    told = place.serve(training, a_job(again=True, parcels=True, set_aside=("bad",)))[0]
    assert (told.attempt, told.parcel, training.works) == ("earlier", name, [])


def test_an_update_that_was_set_aside_is_no_answer(place: Place) -> None:
    place.store.create(keys.update("j", 0, "site.mary", "mary", "bad"), b"rubbish")
    told = place.serve(Scripted(trained), a_job(again=True, set_aside=("bad",)))[0]
    assert told.attempt != "bad"


def test_a_training_process_that_dies_is_tried_once_more_and_then_fails_the_client(place: Place) -> None:
    told = place.serve(Scripted(dying, dying), a_job())[0]
    assert told.failure is not None
    assert (told.outcome, told.failure.error) == ("failed", "TrainingProcessDied")


def test_one_death_of_the_training_process_is_forgiven(place: Place) -> None:
    assert place.serve(Scripted(dying, trained), a_job())[0].outcome == "updated"


def test_code_that_is_not_installed_is_named_and_not_run(place: Place) -> None:
    (place.root / "tasks" / "own.py").write_bytes(b"something else")
    told = place.serve(Scripted(), a_job())[0]
    assert told.failure is not None
    assert "own.py" in told.failure.text
    assert "is not installed there" in told.failure.text


def keeping(work: Work) -> Outcome:
    work.state_output_path.write_bytes(b"control")
    work.output_path.write_bytes(b"an update")
    state = (work.state_output_path, 7, digest_file(work.state_output_path))
    return Trained(work.output_path, 9, "0" * 64, 5, {}, state)


def test_what_a_client_keeps_is_stored_before_its_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path, strategy={"name": "feddyn"})
    create, order = place.store.create, []

    def noted(key: str, *args: Any, **more: Any) -> bool:
        order.append(key)
        return create(key, *args, **more)

    monkeypatch.setattr(place.store, "create", noted)
    told = place.serve(Scripted(keeping), a_job(round=1, kind="train"))[0]
    state = keys.client_state("j", "mary", 1, told.attempt)
    assert order == [state, keys.update("j", 1, "site.mary", "mary", told.attempt)]
    assert place.store.read(state) == b"control"


def test_the_work_starts_from_the_state_that_the_round_job_names(tmp_path: Path) -> None:
    place = Place(tmp_path, strategy={"name": "scaffold"})
    key, server = keys.client_state("j", "mary", 1, "a1"), keys.optimizer("j", 1)
    place.store.create(key, b"control")
    place.store.create(server, b"the mean control")
    named = {
        "state": key,
        "state_digest": digest_file(place.root / "store" / key),
        "state_bytes": 7,
        "server": server,
        "server_digest": digest_file(place.root / "store" / server),
        "server_bytes": 16,
    }
    training = Scripted(keeping)
    place.serve(training, a_job(round=2, kind="train", **named))
    (work,) = training.works
    assert work.state_path is not None
    assert work.server_path is not None
    assert (work.state_path.read_bytes(), work.server_path.read_bytes()) == (b"control", b"the mean control")


def test_a_state_of_other_bytes_than_named_fails_the_client_and_trains_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path, strategy={"name": "feddyn"})
    key = keys.client_state("j", "mary", 1, "a1")
    place.store.create(key, b"changed")
    training = Scripted()
    told = place.serve(training, a_job(round=2, kind="train", state=key, state_digest="1" * 64, state_bytes=7))[0]
    assert told.outcome == "failed"
    assert told.failure is not None
    assert told.failure.error == "ObjectDamaged"


def test_layers_that_stay_at_a_site_are_given_back_to_it_and_never_stored(tmp_path: Path) -> None:
    place = Place(tmp_path, train={"rule": "fedbn"})
    first = place.serve(Scripted(keeping), a_job(round=1, kind="train"))[0]
    assert not list(place.store.list(keys.client_states("j")))
    kept = tmp_path / "cache" / "personal" / "j" / "mary" / f"00001.{first.attempt}.safetensors"
    key = keys.client_state("j", "mary", 1, first.attempt)
    training = Scripted(keeping)
    place.serve(training, a_job(round=2, kind="train", state=key, state_digest=digest_file(kept), state_bytes=7))
    assert training.works[0].state_path == kept
