"""Dead letters, in memory and on RabbitMQ: looked at without loss, shown with their reason, sent again, dropped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from warren.aggregator.dead_letters import DeadLetters
from warren.aggregator.letters import NotReplayed, fate, read_letter, replay
from warren.aggregator.ports import News
from warren.broker.completions import NewsItem
from warren.broker.memory import MemoryBroker
from warren.broker.messages import Completion, RoundJob, decode, encode
from warren.broker.parked import parked
from warren.broker.ports import Broker, Delivery, Outgoing
from warren.broker.rabbit import RabbitBroker
from warren.broker.topology import DEAD_LETTERS, DELIVERY_LIMIT, ROUNDS_DEAD, evaluations_queue, rounds_queue
from warren.storage import keys
from warren.storage.documents import Control, Entry, Evaluation, Manifest, write_document
from warren.storage.folder import FolderStore
from warren.storage.job import make_spec, write_spec

JOB, SOURCE, DIGEST = "lung-aaa111", "pool.default", "0" * 64
ROUNDS, EVALUATIONS = rounds_queue(SOURCE), evaluations_queue(SOURCE)
ARRIVES_SECONDS = 20.0


@pytest.fixture(params=["memory", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    made: Broker
    if request.param == "memory":
        made = MemoryBroker()
    else:
        made = RabbitBroker(request.getfixturevalue("amqp_url"), name="dead letters")
    with contextlib.closing(made):
        made.declare([ROUNDS, EVALUATIONS, ROUNDS_DEAD, DEAD_LETTERS])
        yield made


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    store = FolderStore(tmp_path / "runs")
    task = {"name": "lung", "file": "lung.py", "digest": DIGEST}
    store.create(keys.spec(JOB), write_spec(make_spec({"job": JOB, "task": task, "rounds": 9})))
    return store


def order(client: str, kind: str = "train", number: int = 3, job: str = JOB) -> RoundJob:
    fields = {"job": job, "round": number, "kind": kind, "client": client, "source": SOURCE, "publication": client}
    return RoundJob.model_validate(fields)


def park(broker: Broker, *orders: RoundJob, reason: str = "its trainer died each time") -> None:
    """Put round jobs where an aggregator puts the dead ones."""
    for one in orders:
        headers = {"job": one.job, "client": one.client, "publication": one.publication, "reason": reason}
        broker.publish([Outgoing(DEAD_LETTERS, encode(one), headers)])


def clients(broker: Broker) -> list[str]:
    with parked(broker) as letters:
        return [letter.headers["client"] for letter in letters]


def take(broker: Broker, queue: str) -> Delivery:
    with contextlib.closing(broker.consume([queue])) as consumer:
        taken = consumer.take(ARRIVES_SECONDS)
        assert taken is not None, f"nothing came from {queue}"
        taken.ack()
        return taken


def test_looking_at_dead_letters_loses_none_and_keeps_their_order(broker: Broker) -> None:
    park(broker, order("c1"), order("c2"), order("c3"))
    looks = [clients(broker) for _ in range(DELIVERY_LIMIT + 2)]  # more looks than a round job has deliveries
    assert looks == [["c1", "c2", "c3"]] * len(looks)


def test_no_dead_letters_are_an_empty_list_at_once(broker: Broker) -> None:
    assert clients(broker) == []


def test_a_letter_keeps_its_id_from_look_to_look_and_each_has_its_own(broker: Broker) -> None:
    park(broker, order("c1"), order("c2"))
    seen = []
    for _ in range(2):
        with parked(broker) as letters:
            seen.append([read_letter(letter).id for letter in letters])
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 2


def test_a_dropped_letter_is_gone_and_its_neighbours_stay(broker: Broker) -> None:
    park(broker, order("c1"), order("c2"), order("c3"))
    with parked(broker) as letters:
        letters[1].ack()
    assert clients(broker) == ["c1", "c3"]


@pytest.mark.parametrize(("kind", "queue"), [("train", ROUNDS), ("init", ROUNDS), ("test", EVALUATIONS)])
def test_a_replayed_letter_asks_its_client_again_where_it_was_asked(
    broker: Broker, store: FolderStore, kind: str, queue: str
) -> None:
    park(broker, order("c1", kind, 0 if kind == "init" else 3), order("c2"))
    with parked(broker) as letters:
        assert replay(broker, store, read_letter(letters[0])) == queue
    again = decode(take(broker, queue).body, RoundJob)
    assert (again.client, again.kind, again.again) == ("c1", kind, True)
    assert again.publication != "c1"
    assert clients(broker) == ["c2"]


def test_a_letter_that_nobody_waits_for_is_not_replayed_and_stays(broker: Broker, store: FolderStore) -> None:
    store.create(keys.control(JOB, 1), write_document(Control(command="cancel")))
    park(broker, order("c1"))
    with parked(broker) as letters, pytest.raises(NotReplayed, match="its job is cancelled"):
        replay(broker, store, read_letter(letters[0]))
    assert clients(broker) == ["c1"]
    assert broker.depth(ROUNDS) == (0, 0)


def test_a_letter_says_what_became_of_its_client(broker: Broker, store: FolderStore) -> None:
    entry = Entry(client="c2", source=SOURCE, attempt="a", digest=DIGEST, size=1, examples=1)
    closed = Manifest(job=JOB, round=2, entries=(entry,), failed={"c1": "DeadLetter: its trainer died"})
    store.create(keys.manifest(JOB, 2), write_document(closed))
    store.create(keys.evaluation(JOB, 2), write_document(Evaluation(job=JOB, round=2, missing={"test c1": "late"})))
    orders = [
        order("c1", number=2),
        order("c2", number=2),
        order("c1", "test", 2),
        order("c1"),
        order("c1", job="gone-1"),
    ]
    park(broker, *orders)
    with parked(broker) as letters:
        assert [fate(store, read_letter(letter)) for letter in letters] == [
            "c1 failed in round 2: DeadLetter: its trainer died",
            "c2 counted in round 2 all the same",
            "the evaluation of round 2 is closed: late",
            "round 3 is still open",
            "its job gone-1 is not in the store",
        ]


@dataclass
class Heard:
    """Stands in for the streams: keeps what was told."""

    told: list[Completion] = field(default_factory=list)

    def append(self, completion: Completion, source: str) -> None:
        self.told.append(completion)

    def nudge(self, job: str) -> None: ...
    def read(self, *_: object) -> list[NewsItem]:
        return []

    def trim(self, job: str, source: str, up_to_id: str) -> None: ...
    def forget(self, job: str) -> None: ...


def test_a_round_job_that_kills_its_trainers_is_parked_with_the_reason(broker: Broker, store: FolderStore) -> None:
    one = order("c1")
    headers = {"job": JOB, "round": "3", "client": "c1", "kind": "train", "source": SOURCE, "publication": "c1"}
    broker.publish([Outgoing(ROUNDS, encode(one), headers)])
    for _ in range(DELIVERY_LIMIT + 1):
        with contextlib.closing(broker.consume([ROUNDS])) as consumer:  # a trainer that takes it, and is gone
            assert consumer.take(ARRIVES_SECONDS) is not None
    heard = Heard()
    news: News = heard
    with contextlib.closing(broker.consume([ROUNDS_DEAD])) as consumer:
        dead = consumer.take(ARRIVES_SECONDS)
        assert dead is not None
        DeadLetters(broker, news, store).handle(dead)
    assert [(told.client, told.outcome) for told in heard.told] == [("c1", "dead")]
    with parked(broker) as letters:
        (letter,) = [read_letter(one) for one in letters]
        assert "its trainer died or handed it back each time" in letter.reason
        assert letter.fact("x-first-death-queue") == ROUNDS
        assert replay(broker, store, letter) == ROUNDS


def test_an_unreadable_letter_is_shown_with_its_reason_and_never_replayed(broker: Broker, store: FolderStore) -> None:
    broker.publish([Outgoing(DEAD_LETTERS, b"\xc1rubbish", {"job": JOB, "client": "c\x1b[31m1", "reason": ""})])
    with parked(broker) as letters:
        letter = read_letter(letters[0])
        assert letter.reason.startswith("can't be read: not msgpack")
        assert letter.fact("client") == "c\N{REPLACEMENT CHARACTER}[31m1"
        with pytest.raises(NotReplayed, match="no round job"):
            replay(broker, store, letter)
