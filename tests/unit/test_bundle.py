"""Short round jobs are told several at a time, after they are stored and before they are acknowledged."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fakeredis
import pytest

from warren.broker.completions import News
from warren.broker.errors import BrokerUnavailable
from warren.broker.memory import MemoryBroker
from warren.broker.messages import Completion, RoundJob, decode, encode
from warren.broker.ports import Outgoing
from warren.broker.topology import rounds_queue
from warren.cli.metered import Meters, metered
from warren.storage import keys
from warren.storage.errors import StorageUnavailable
from warren.storage.folder import FolderStore
from warren.storage.job import make_spec, write_spec
from warren.storage.keys import UpdateName
from warren.storage.ledger import RedisLedger
from warren.storage.parcels import MEMBER_BYTES_MAX, PARCEL_BYTES_MAX, Parcels
from warren.trainer.bundle import BUNDLE_MAX, REMEMBERED, SHORT_SECONDS, Pace, Waiting, parcels_of
from warren.trainer.wire import Outcome, Trained, Work
from warren.trainer.worker import Worker

SOURCE = b"def model(): ...\ndef data(client): ...\n"
QUEUE = rounds_queue("pool.default")
UPDATE = b"an update"


class Told:
    """News that counts its trips, looks whether what is told is stored, and fails as often as asked."""

    def __init__(self, store: FolderStore, broker: MemoryBroker, failures: int = 0) -> None:
        self.trips: list[list[str]] = []
        self.all_told = threading.Event()
        self.expected = 0
        self._store, self._broker, self._failures = store, broker, failures

    def append_all(self, completions: Sequence[Completion], source: str) -> None:
        if self._failures:
            self._failures -= 1
            raise BrokerUnavailable("redis does not answer")
        for told in completions:
            name = UpdateName(told.job, told.round, source, told.client, told.attempt, told.parcel or "")
            assert self._store.stat(keys.split_place(name.place)[0]) is not None
            if name.parcel:
                assert Parcels(self._store).read(name.place, 100) == UPDATE
        self.trips.append([told.client for told in completions])
        if sum(map(len, self.trips)) >= self.expected:
            self.all_told.set()


class Clocked:
    """A training process that takes so many seconds of the worker's clock for each client, and asks once.

    Attributes:
        order: "begun c" and "done c", as they came.
    """

    def __init__(self, seconds: Callable[[str], float], asking: str) -> None:
        self.now = 0.0
        self._seconds, self._asking = seconds, asking
        self.order: list[str] = []

    def begin(self, work: Work) -> None:
        if f"begun {work.client}" not in self.order:
            self.order.append(f"begun {work.client}")

    def run(self, work: Work, keep_going: Callable[[], bool]) -> Outcome:
        self.now += self._seconds(work.client)
        if work.client == self._asking:
            assert keep_going()
        work.output_path.write_bytes(UPDATE)
        self.order.append(f"done {work.client}")
        return Trained(work.output_path, len(UPDATE), "0" * 64, 5, {})

    def close(self) -> None: ...


def serve(
    root: Path,
    seconds: Callable[[str], float],
    clients: int = 40,
    *,
    failures: int = 0,
    asking: str = "",
    parcels: bool = False,
    store: FolderStore | None = None,
    order: list[str] | None = None,
) -> tuple[Told, MemoryBroker]:
    """Round jobs of so many clients, served by one worker until all are told."""
    store, broker = store or FolderStore(root / "store"), MemoryBroker()
    (root / "tasks").mkdir()
    (root / "tasks" / "own.py").write_bytes(SOURCE)
    task = {"name": "own", "file": "own.py", "digest": hashlib.sha256(SOURCE).hexdigest()}
    store.create(keys.spec("j"), write_spec(make_spec({"job": "j", "task": task, "clients": clients})))
    broker.declare([QUEUE])
    jobs = (
        RoundJob(job="j", round=1, kind="train", client=f"c{number:03}", source="pool.default", parcels=parcels)
        for number in range(clients)
    )
    broker.publish([Outgoing(QUEUE, encode(job)) for job in jobs])
    told, training = Told(store, broker, failures), Clocked(seconds, asking)
    told.expected = clients
    training.order = training.order if order is None else order
    worker = Worker(
        store, broker, told, RedisLedger(fakeredis.FakeRedis()), training, name="t1", source="pool.default",
        tasks_dir=root / "tasks", accept_code=False, cache=root / "cache", clock=lambda: training.now,
    )  # fmt: skip
    stop = threading.Event()
    serving = threading.Thread(target=worker.run, args=(stop,))
    serving.start()
    assert told.all_told.wait(20.0)
    stop.set()
    serving.join(20.0)
    assert not serving.is_alive()
    return told, broker


def test_short_jobs_are_told_in_few_trips_and_each_once(tmp_path: Path) -> None:
    count = REMEMBERED - 1 + 4 * BUNDLE_MAX
    told, broker = serve(tmp_path, lambda _: SHORT_SECONDS / 100, count)
    assert [client for trip in told.trips for client in trip] == [f"c{number:03}" for number in range(count)]
    assert [len(trip) for trip in told.trips] == [1] * (REMEMBERED - 1) + [BUNDLE_MAX] * 4
    assert broker.depth(QUEUE) == (0, 0)


def test_long_jobs_are_told_one_by_one(tmp_path: Path) -> None:
    told, _ = serve(tmp_path, lambda _: 2 * SHORT_SECONDS, clients=12)
    assert [len(trip) for trip in told.trips] == [1] * 12


def test_what_waits_is_told_while_a_job_that_was_taken_for_short_goes_on(tmp_path: Path) -> None:
    """A training process asks every half second whether to go on."""
    told, _ = serve(tmp_path, lambda _: 0.0001, clients=12, asking="c009")
    assert told.trips[REMEMBERED - 1 :] == [["c007", "c008"], ["c009", "c010", "c011"]]


def test_nothing_is_acknowledged_before_it_was_told(tmp_path: Path) -> None:
    told, broker = serve(tmp_path, lambda _: 0.0001, clients=20, failures=3)
    assert sorted(client for trip in told.trips for client in trip) == [f"c{number:03}" for number in range(20)]
    assert broker.depth(QUEUE) == (0, 0)


def test_one_long_job_among_short_ones_ends_the_bundling_until_it_is_forgotten() -> None:
    pace = Pace()
    for _ in range(REMEMBERED):
        assert pace.ahead == 1
        pace.took(SHORT_SECONDS / 2)
    assert pace.ahead == BUNDLE_MAX
    pace.took(REMEMBERED * SHORT_SECONDS)
    assert pace.ahead == 1
    for _ in range(REMEMBERED):
        pace.took(0.0)
    assert pace.ahead == BUNDLE_MAX
    pace.forget()
    assert pace.ahead == 1


def test_a_consumer_in_memory_may_be_allowed_more_and_fewer() -> None:
    broker = MemoryBroker()
    broker.declare([QUEUE])
    broker.publish([Outgoing(QUEUE, word.encode()) for word in "abcdef"])
    consumer = broker.consume([QUEUE])
    taken = [consumer.take(0.0), consumer.take(0.0)]
    assert [one is not None for one in taken] == [True, False]
    consumer.allow(3)
    several = [consumer.take(0.0) for _ in range(3)]
    assert [one and one.body for one in several] == [b"b", b"c", None]
    for delivery in (*taken, *several):
        if delivery is not None:
            delivery.ack()
    consumer.allow(1)
    assert [one is not None for one in (consumer.take(0.0), consumer.take(0.0))] == [True, False]


def test_each_completion_of_a_bundle_is_counted() -> None:
    meters = Meters()
    news = metered(meters).news(fakeredis.FakeRedis())
    told = Completion(job="j", round=1, kind="train", client="c1", attempt="a", outcome="updated")
    news.append_all([told, told], "pool.p")
    news.append(told, "pool.p")
    assert meters.completions.labels("train", "updated")._value.get() == 3


def test_several_completions_stand_in_their_streams_in_order() -> None:
    news = News(fakeredis.FakeRedis())
    several = [
        Completion(job=job, round=1, kind="train", client=client, attempt="a", outcome="updated")
        for job, client in (("j", "c1"), ("k", "c1"), ("j", "c2"))
    ]
    news.append_all(several, "pool.p")
    told = {job: [decode(item.body, Completion).client for item in news.read(job, ["pool.p"], {}, 0)] for job in "jk"}
    assert told == {"j": ["c1", "c2"], "k": ["c1"]}


class Slow(FolderStore):
    """A store that remembers what updates were put there, and refuses the first parcels."""

    def __init__(self, root: Path, refuse: int = 0) -> None:
        super().__init__(root)
        self.created: list[str] = []
        self.refuse = refuse

    def create(self, key: str, *args: Any, **more: Any) -> bool:
        if key.startswith("updates/"):
            self.created.append(key)
            if self.refuse and len(keys.read_updates(key)) > 1:
                self.refuse -= 1
                raise StorageUnavailable("the store does not answer")
        return super().create(key, *args, **more)


def test_small_updates_of_short_jobs_are_stored_together(tmp_path: Path) -> None:
    store, count = Slow(tmp_path / "store"), REMEMBERED - 1 + 4 * BUNDLE_MAX
    told, broker = serve(tmp_path, lambda _: SHORT_SECONDS / 2, count, parcels=True, store=store)
    assert [len(keys.read_updates(key)) for key in store.created] == [1] * (REMEMBERED - 1) + [BUNDLE_MAX] * 4
    assert [client for trip in told.trips for client in trip] == [f"c{number:03}" for number in range(count)]
    assert broker.depth(QUEUE) == (0, 0)


def test_a_short_job_is_handed_over_while_the_one_before_it_is_worked_on(tmp_path: Path) -> None:
    order: list[str] = []
    serve(tmp_path, lambda _: SHORT_SECONDS / 100, 20, order=order)
    early = [f"begun c{number:03}" for number in range(REMEMBERED)]
    assert not set(early[1:-1]) & set(order), "nobody knows yet that they are short"
    for number in range(REMEMBERED + 1, 20):
        before, after = f"done c{number - 1:03}", f"begun c{number:03}"
        assert order.index(after) < order.index(before)


def test_what_follows_a_job_that_is_long_after_all_goes_back_for_others_to_take(tmp_path: Path) -> None:
    order: list[str] = []
    seconds = {"c012": 60.0}
    told, _ = serve(tmp_path, lambda client: seconds.get(client, 0.0), 20, asking="c012", order=order)
    assert sorted(client for trip in told.trips for client in trip) == [f"c{number:03}" for number in range(20)]
    assert order.index("begun c013") < order.index("done c012")
    followed = order[order.index("done c012") + 1 :]
    assert followed.index("done c013") < followed.index("done c014")


def test_an_aggregator_that_does_not_know_parcels_gets_none(tmp_path: Path) -> None:
    store = Slow(tmp_path / "store")
    serve(tmp_path, lambda _: SHORT_SECONDS / 100, 24, store=store)
    assert [len(keys.read_updates(key)) for key in store.created] == [1] * 24


def test_updates_that_are_not_small_are_objects_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warren.trainer.preparing.MEMBER_BYTES_MAX_NEAR", len(UPDATE) - 1)
    store = Slow(tmp_path / "store")
    serve(tmp_path, lambda _: SHORT_SECONDS / 100, 24, parcels=True, store=store)
    assert [len(keys.read_updates(key)) for key in store.created] == [1] * 24


def test_a_parcel_that_could_not_be_stored_is_stored_later_and_nothing_was_acknowledged(tmp_path: Path) -> None:
    store, count = Slow(tmp_path / "store", refuse=2), REMEMBERED - 1 + 2 * BUNDLE_MAX
    told, broker = serve(tmp_path, lambda _: SHORT_SECONDS / 100, count, parcels=True, store=store)
    assert [client for trip in told.trips for client in trip] == [f"c{number:03}" for number in range(count)]
    assert broker.depth(QUEUE) == (0, 0)


def waiting(client: str, job: str = "j", round_number: int = 1, update: bytes | None = UPDATE) -> Waiting:
    said = Completion(job=job, round=round_number, kind="train", client=client, attempt="a" * 16, outcome="updated")
    return Waiting(MemoryDelivery(), said, update)


class MemoryDelivery:
    queue, body, deliveries_before, headers = "", b"", 0, {}  # type: ignore[var-annotated]

    def ack(self) -> None: ...
    def requeue(self) -> None: ...
    def dead_letter(self) -> None: ...


def test_a_parcel_is_of_one_round_and_its_name_fits_a_file_system() -> None:
    long = [waiting(f"{'x' * 60}{number}") for number in range(5)]
    others = [waiting("c1", job="k"), waiting("c2", job="k", round_number=2), waiting("c3", update=None)]
    found = list(parcels_of([*long, *others], "pool.default"))
    assert [[one.completion.client[-2:] for one in parcel.members] for parcel in found] == [
        ["x0", "x1"], ["x2", "x3"], ["x4"], ["c1"], ["c2"],
    ]  # fmt: skip
    assert all(len(f"{parcel.name}.safetensors") <= 255 for parcel in found if parcel.name)


def test_a_parcel_is_no_larger_than_an_aggregator_reads() -> None:
    large = [waiting(f"c{number}", update=bytes(MEMBER_BYTES_MAX)) for number in range(9)]
    found = list(parcels_of(large, "pool.default"))
    assert [len(parcel.members) for parcel in found] == [4, 4, 1]
    assert all(len(parcel.body) <= PARCEL_BYTES_MAX for parcel in found)
