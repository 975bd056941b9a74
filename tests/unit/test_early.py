"""An update that is stored while it is written: told only when it is stored and whole, and not at all of half a one."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fakeredis
import pytest
from made.events import SECONDS, Events
from training.outcomes import go_on, trained
from training.works import place

from warren.broker.completions import News
from warren.broker.memory import MemoryBroker
from warren.broker.messages import Completion, Failure, RoundJob, decode, encode
from warren.broker.ports import Outgoing
from warren.broker.topology import rounds_queue
from warren.storage import keys
from warren.storage.body import Body
from warren.storage.errors import NeverWhole, StorageUnavailable
from warren.storage.folder import FolderStore
from warren.storage.growing import Growing
from warren.storage.job import make_spec, write_spec
from warren.storage.ledger import RedisLedger
from warren.storage.tensors import TOLD_BYTES
from warren.trainer.process import TrainingProcess
from warren.trainer.wire import EARLY_BYTES_MIN, Crashed, Outcome, TaskFailed, Trained, Work, read_work, write_work
from warren.trainer.worker import Worker

SOURCE = b"def model(): ...\ndef data(client): ...\n"
QUEUE = rounds_queue("pool.default")
SIZE = 1000


class Remote(FolderStore):
    """A store of files that behaves as one elsewhere: an object can be sent while its file is written."""

    def __init__(self, root: Path, events: Events) -> None:
        super().__init__(root)
        self.events = events
        self.failing: list[Exception] = []  # what the next tries meet
        self.after: dict[str, str] = {}  # a client's object is made only after this

    def create_growing(self, key: str, file: Growing) -> bool:
        name = keys.read_update(key)
        assert name is not None
        if self.failing:
            self.events.tell(f"refused {name.client}")
            raise self.failing.pop(0)
        with Body(file) as body:
            blocks = body.blocks()
            held = bytes(next(blocks))
            self.events.tell(f"storing {name.client}")
            held += b"".join(map(bytes, blocks))
        if name.client in self.after:
            self.events.wait(self.after[name.client])
        made = self.create(key, held)
        self.events.tell(f"stored {name.client}")
        return made


class Place:
    """A broker with round jobs of some clients, a store elsewhere, and one trainer on them."""

    def __init__(self, root: Path, *clients: str) -> None:
        self.events, self.root = Events(), root
        self.training: Callable[[Work], Outcome] = self.trains
        self.store, self.broker, self.redis = Remote(root / "store", self.events), MemoryBroker(), fakeredis.FakeRedis()
        self.news = News(self.redis)
        (root / "tasks").mkdir()
        (root / "tasks" / "own.py").write_bytes(SOURCE)
        task = {"name": "own", "file": "own.py", "digest": hashlib.sha256(SOURCE).hexdigest()}
        spec = make_spec({"job": "j", "task": task, "clients": 9, "share_errors": "full"})
        self.store.create(keys.spec("j"), write_spec(spec))
        self.broker.declare([QUEUE])
        jobs = [RoundJob(job="j", round=1, kind="train", client=client, source="pool.default") for client in clients]
        self.broker.publish([Outgoing(QUEUE, encode(job)) for job in jobs])
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._work, name="worker", daemon=True)

    def run(self, work: Work, keep_going: Callable[[], bool]) -> Outcome:
        self.events.tell(f"training {work.client}")
        outcome = self.training(work)
        self.events.tell(f"ended {work.client}")
        return outcome

    def close(self) -> None: ...

    def trains(self, work: Work) -> Outcome:
        """It tells of the file, and goes on only when the half of it has been read, where anybody reads it."""
        self.begins(work)
        self.events.wait(f"storing {work.client}")
        return self.finishes(work)

    def begins(self, work: Work) -> None:
        work.output_path.unlink(missing_ok=True)
        work.output_path.write_bytes(whole(work)[: SIZE // 2])
        assert work.wrote is not None
        work.wrote(SIZE, 0)
        work.wrote(SIZE, SIZE // 2)

    def finishes(self, work: Work) -> Outcome:
        with work.output_path.open("ab") as file:
            file.write(whole(work)[SIZE // 2 :])
        return Trained(work.output_path, SIZE, "0" * 64, 5, {})

    def told(self, count: int) -> list[Completion]:
        """Start the trainer; what it told, when nothing is in its hands any more."""
        self.thread.start()
        found: list[Completion] = []
        after: dict[str, str] = {}
        while len(found) < count:
            items = self.news.read("j", ["pool.default"], after, SECONDS)
            assert items, f"only {found} were told"
            after = {items[-1].source: items[-1].id}
            found += [decode(item.body, Completion) for item in items]
        self.stop.set()
        self.thread.join(SECONDS)
        assert not self.thread.is_alive()
        assert self.broker.depth(QUEUE) == (0, 0)
        return found

    def stored(self) -> dict[tuple[str, str], bytes]:
        """Each update in the store, by client and attempt."""
        names = [(keys.read_update(info.key), info.key) for info in self.store.list("updates/")]
        return {(name.client, name.attempt): self.store.read(key) for name, key in names if name is not None}

    def _work(self) -> None:
        Worker(
            self.store, self.broker, self.news, RedisLedger(self.redis), self, name="t1", source="pool.default",
            tasks_dir=self.root / "tasks", accept_code=False, cache=self.root / "cache",
        ).run(self.stop)  # fmt: skip


def whole(work: Work) -> bytes:
    return hashlib.shake_128(work.client.encode()).digest(SIZE)


def expected(told: Completion) -> dict[tuple[str, str], bytes]:
    return {(told.client, told.attempt): hashlib.shake_128(told.client.encode()).digest(SIZE)}


def test_an_update_begins_to_leave_before_it_is_written_and_is_told_after_both(tmp_path: Path) -> None:
    place = Place(tmp_path, "c1")
    (told,) = place.told(1)
    assert place.events.happened == ["training c1", "storing c1", "ended c1", "stored c1"]
    assert (told.outcome, told.size, told.digest) == ("updated", SIZE, "0" * 64)
    assert place.stored() == expected(told)
    assert list((tmp_path / "cache").glob("update-*")) == []


def test_the_next_client_trains_while_the_rest_of_it_leaves(tmp_path: Path) -> None:
    place = Place(tmp_path, "c1", "c2")
    place.store.after = {"c1": "ended c2"}
    place.training = lambda work: place.trains(work) if work.client == "c1" else at_once(place, work)
    told = place.told(2)
    assert [one.client for one in told] == ["c1", "c2"]
    assert place.stored() == expected(told[0]) | expected(told[1])
    assert "storing c2" not in place.events.happened, "what was before it had not left: it leaves when it is done"


def at_once(place: Place, work: Work) -> Outcome:
    place.begins(work)
    return place.finishes(work)


def test_of_a_task_that_fails_half_way_nothing_is_stored(tmp_path: Path) -> None:
    place = Place(tmp_path, "c1")

    def fails(work: Work) -> Outcome:
        place.begins(work)
        place.events.wait("storing c1")
        return TaskFailed(Failure(error="OSError"), "trace")

    place.training = fails
    (told,) = place.told(1)
    assert (told.outcome, place.stored()) == ("failed", {})


def test_a_process_that_dies_half_way_is_tried_once_more_and_its_client_counts_once(tmp_path: Path) -> None:
    place = Place(tmp_path, "c1")

    def dies(work: Work) -> Outcome:
        place.begins(work)
        place.events.wait("storing c1")
        place.training = lambda work: at_once(place, work)
        return Crashed("killed by signal 9")

    place.training = dies
    (told,) = place.told(1)
    assert place.stored() == expected(told)


def test_a_store_that_is_away_is_asked_again_for_it(tmp_path: Path) -> None:
    place = Place(tmp_path, "c1")
    place.store.failing = [StorageUnavailable("it starts")]
    (told,) = place.told(1)
    assert "refused c1" in place.events.happened
    assert place.stored() == expected(told)


def test_what_could_not_leave_early_leaves_when_it_is_done(tmp_path: Path) -> None:
    place = Place(tmp_path, "c1")
    place.store.failing = [NeverWhole("10 of 1000 bytes for 60 s")]
    place.training = lambda work: at_once(place, work)
    (told,) = place.told(1)
    assert "stored c1" not in place.events.happened
    assert place.stored() == expected(told)


def test_what_became_another_size_than_was_told_is_stored_as_it_is(tmp_path: Path) -> None:
    place = Place(tmp_path, "c1")

    def larger(work: Work) -> Outcome:
        place.begins(work)
        work.output_path.write_bytes(b"x" * (SIZE + 1))
        return Trained(work.output_path, SIZE + 1, "0" * 64, 5, {})

    place.training = larger
    (told,) = place.told(1)
    assert place.stored() == {("c1", told.attempt): b"x" * (SIZE + 1)}


def test_a_store_of_local_files_is_told_nothing_early(tmp_path: Path) -> None:
    place = Place(tmp_path, "c1")
    place.store = FolderStore(tmp_path / "store")  # type: ignore[assignment]

    def at_the_end(work: Work) -> Outcome:
        assert work.wrote is None
        work.output_path.write_bytes(whole(work))
        return Trained(work.output_path, SIZE, "0" * 64, 5, {})

    place.training = at_the_end
    (told,) = place.told(1)
    assert place.stored() == expected(told)


def test_an_order_says_whether_anybody_wants_to_hear_of_the_file(tmp_path: Path) -> None:
    order = place(tmp_path).work("train")
    for wanted in (None, print):
        fields = json.loads(write_work(1, replace(order, wrote=wanted)))["work"]
        read = read_work(fields, None, print)
        assert read == order
        assert (read.wrote is None) == (wanted is None)


@pytest.mark.parametrize("small", [True, False])
def test_a_training_process_tells_of_a_large_file_while_it_writes_it(
    tmp_path: Path, training: TrainingProcess, small: bool
) -> None:
    heard: list[tuple[int, int, bool]] = []
    hidden = 8 if small else EARLY_BYTES_MIN // 4 // 8
    order = place(tmp_path).work("init", params={"hidden": hidden})
    order = replace(order, wrote=lambda size, done: heard.append((size, done, order.output_path.exists())))
    outcome = trained(training.run(order, go_on))
    parts = range(0, outcome.size, TOLD_BYTES)
    assert [(size, there) for size, _, there in heard] == ([] if small else [(outcome.size, True)] * len(parts))
    assert all(part <= done < part + TOLD_BYTES for (_, done, _), part in zip(heard, parts, strict=False))
    assert outcome.path.stat().st_size == outcome.size
