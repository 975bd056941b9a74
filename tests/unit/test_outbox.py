"""What is done leaves beside the next one's training: two round jobs in hand at most, none lost, none twice."""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from made.events import SECONDS, Events

from warren.broker.completions import News
from warren.broker.memory import MemoryBroker
from warren.broker.messages import Completion, RoundJob, decode, encode
from warren.broker.ports import Outgoing
from warren.broker.topology import rounds_queue
from warren.storage import keys
from warren.storage.errors import StorageUnavailable
from warren.storage.folder import FolderStore
from warren.storage.job import make_spec, write_spec
from warren.storage.ledger import RedisLedger
from warren.trainer.beside import OneThread
from warren.trainer.bundle import REMEMBERED, SHORT_SECONDS
from warren.trainer.wire import Outcome, Stopped, Trained, Work
from warren.trainer.worker import Worker

SOURCE = b"def model(): ...\ndef data(client): ...\n"
QUEUE = rounds_queue("pool.default")


class Place:
    """A broker with round jobs of some clients, a store that can be held up, and one trainer on them."""

    def __init__(self, root: Path, *clients: str) -> None:
        self.events, self.root, self.clients = Events(), root, clients
        self.storing: Callable[[str], None] = lambda client: None  # called before an update is stored
        self.training: Callable[[str], None] = lambda client: None
        self.now: float | None = None  # the worker's clock, where a test moves it
        self.unwanted: tuple[str, ...] = ()  # clients whose work stops half-way, as nobody waits for it
        self.store, self.broker = FolderStore(root / "store"), MemoryBroker()
        self.redis = fakeredis.FakeRedis()
        self.news = News(self.redis)
        (root / "tasks").mkdir()
        (root / "tasks" / "own.py").write_bytes(SOURCE)
        task = {"name": "own", "file": "own.py", "digest": hashlib.sha256(SOURCE).hexdigest()}
        self.store.create(keys.spec("j"), write_spec(make_spec({"job": "j", "task": task, "clients": 9})))
        self.broker.declare([QUEUE])
        jobs = [RoundJob(job="j", round=1, kind="train", client=client, source="pool.default") for client in clients]
        self.broker.publish([Outgoing(QUEUE, encode(job)) for job in jobs])
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._work, name="worker", daemon=True)

    def start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        create = self.store.create

        def slow(key: str, *args: Any, **more: Any) -> bool:
            name = keys.read_update(key)
            assert name is not None
            self.events.tell(f"storing {name.client}")
            self.storing(name.client)
            made = create(key, *args, **more)
            self.events.tell(f"stored {name.client}")
            return made

        monkeypatch.setattr(self.store, "create", slow)
        self.thread.start()

    def begin(self, work: Work) -> None: ...

    def run(self, work: Work, keep_going: Callable[[], bool]) -> Outcome:
        self.events.tell(f"training {work.client}")
        self.training(work.client)
        if not keep_going() or work.client in self.unwanted:
            return Stopped()
        work.output_path.unlink(missing_ok=True)  # a store of files keeps what it was given
        work.output_path.write_bytes(work.client.encode())
        self.events.tell(f"trained {work.client}")
        return Trained(work.output_path, len(work.client), "0" * 64, 5, {})

    def close(self) -> None: ...

    def end(self) -> None:
        self.stop.set()
        self.thread.join(SECONDS)
        assert not self.thread.is_alive()

    def told(self, count: int) -> list[Completion]:
        found: list[Completion] = []
        after: dict[str, str] = {}
        while len(found) < count:
            items = self.news.read("j", ["pool.default"], after, SECONDS)
            assert items, f"only {found} were told"
            after = {items[-1].source: items[-1].id}
            found += [decode(item.body, Completion) for item in items]
        return found

    def stored(self, told: Completion) -> bytes:
        return self.store.read(keys.update("j", 1, "pool.default", told.client, told.attempt))

    def _work(self) -> None:
        Worker(
            self.store, self.broker, self.news, RedisLedger(self.redis), self, name="t1", source="pool.default",
            tasks_dir=self.root / "tasks", accept_code=False, cache=self.root / "cache",
            clock=lambda: time.monotonic() if self.now is None else self.now,
        ).run(self.stop)  # fmt: skip


def test_after_short_works_a_long_one_leaves_beside_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clients = [f"c{number}" for number in range(REMEMBERED + 2)]
    long, after = clients[-2:]
    place = Place(tmp_path, *clients)
    place.now = 0.0  # nothing takes time, so that what is stored is cheap to store, but the long one

    def training(client: str) -> None:
        assert place.now is not None
        place.now += REMEMBERED * SHORT_SECONDS if client == long else 0.0

    place.training = training
    place.storing = lambda client: place.events.wait(f"trained {after}") if client == long else None
    place.start(monkeypatch)
    assert [one.client for one in place.told(len(clients))] == clients
    place.end()


def test_work_that_came_to_nothing_does_not_put_the_next_in_the_place_of_what_is_on_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, "c1", "c2", "c3")
    place.unwanted = ("c2",)
    place.storing = lambda client: place.events.wait("trained c3")
    place.start(monkeypatch)
    told = place.told(2)
    place.end()
    assert [(one.client, place.stored(one)) for one in told] == [("c1", b"c1"), ("c3", b"c3")]


def test_the_next_client_trains_while_the_update_before_it_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, "c1", "c2")
    place.storing = lambda client: place.events.wait("trained c2")
    place.start(monkeypatch)
    assert [told.client for told in place.told(2)] == ["c1", "c2"]
    place.end()
    assert place.events.before("trained c2", "stored c1")
    assert place.broker.depth(QUEUE) == (0, 0)


def test_each_update_holds_its_own_clients_bytes_however_late_it_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = ("c1", "c2", "c3", "c4")
    following = dict(itertools.pairwise(clients))
    place = Place(tmp_path, *clients)
    place.storing = lambda client: place.events.wait(f"trained {following.get(client, client)}")
    place.start(monkeypatch)
    assert {told.client: place.stored(told) for told in place.told(4)} == {c: c.encode() for c in clients}
    place.end()


def test_a_trainer_has_two_round_jobs_in_hand_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, free = Place(tmp_path, "c1", "c2", "c3", "c4"), threading.Event()
    depths: list[tuple[int, int] | None] = []
    place.storing = lambda client: (place.events.wait("trained c2"), free.wait(SECONDS), None)[-1]
    place.start(monkeypatch)
    place.events.wait("trained c2")
    depths.append(place.broker.depth(QUEUE))
    assert "training c3" not in place.events.happened
    free.set()
    place.told(4)
    place.end()
    assert depths == [(2, 1)]
    assert place.events.before("stored c1", "training c3")


def test_a_round_job_that_came_back_is_worked_on_with_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be what ended the trainer that had it: what is done must not come back with it once more."""
    place = Place(tmp_path, "c1", "c2", "c3")
    other = place.broker.consume([QUEUE], prefetch=3)
    first, second, third = (other.take(0.0) for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    second.requeue()
    place.broker.publish([Outgoing(QUEUE, first.body), Outgoing(QUEUE, third.body)])
    first.ack()
    third.ack()
    acknowledged: list[tuple[int, int] | None] = []
    place.training = lambda client: acknowledged.append(place.broker.depth(QUEUE))
    other.close()
    place.start(monkeypatch)
    assert [told.client for told in place.told(3)] == ["c2", "c1", "c3"]
    place.end()
    assert place.events.before("stored c2", "training c1")


def test_when_a_trainer_is_told_to_end_what_can_t_be_stored_and_what_trains_go_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, "c1", "c2", "c3")

    def refuse(client: str) -> None:
        place.events.wait("training c2")
        raise StorageUnavailable("the store does not answer")

    place.storing = refuse
    place.training = lambda client: client == "c2" and (place.events.wait("storing c1"), place.stop.set())[-1]
    place.start(monkeypatch)
    place.events.wait("training c2")
    place.end()
    assert place.broker.depth(QUEUE) == (3, 0)
    assert place.news.read("j", ["pool.default"], {}, 0) == []


def test_what_is_on_its_way_is_finished_when_a_trainer_is_told_to_end_and_the_servers_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, "c1", "c2")
    place.storing = lambda client: place.stop.wait(SECONDS) and None
    place.training = lambda client: client == "c2" and place.stop.set()
    place.start(monkeypatch)
    assert [told.client for told in place.told(1)] == ["c1"]
    place.end()
    assert place.broker.depth(QUEUE) == (1, 0)


def test_a_mistake_beside_the_training_ends_the_worker_and_not_only_its_thread() -> None:
    beside = OneThread("t1")

    def mistaken() -> None:
        raise TimeoutError("nobody expected this")

    beside.start(mistaken)
    with pytest.raises(TimeoutError, match="nobody expected"):
        beside.ended()
    assert beside.ended(0)
    beside.close()


def test_what_still_runs_has_not_ended() -> None:
    beside, free = OneThread("t1"), threading.Event()
    beside.start(lambda: free.wait(SECONDS) and None)
    assert not beside.ended(0)
    free.set()
    assert beside.ended()
    beside.close()
