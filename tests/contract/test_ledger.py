"""The ledger's promises, held against each backend: simulated, fakeredis, Redis."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import fakeredis
import pytest
import redis

from warren.storage.ledger import RedisLedger, connect
from warren.storage.ports import Ledger, Presence
from warren.storage.simulated import SimulatedLedger

LONG = 3600.0  # seconds: does not end within a test
SHORT = 0.15  # seconds: ends within a test
PATIENCE = 10.0  # seconds that a condition may take


@dataclass
class Backend:
    """A ledger, how to let its time pass, and how to wipe it."""

    ledger: Ledger
    other: Ledger  # the same ledger, seen from another aggregator
    wait_until: Callable[[Callable[[], bool]], None]
    wipe: Callable[[], object]


@pytest.fixture(params=["simulated", "fakeredis", "redis"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    if request.param == "simulated":
        yield _simulated()
        return
    if request.param == "fakeredis":
        server = fakeredis.FakeServer()
        clients = [fakeredis.FakeRedis(server=server) for _ in range(2)]
    else:
        clients = [connect(request.getfixturevalue("redis_url")) for _ in range(2)]
    yield Backend(RedisLedger(clients[0]), RedisLedger(clients[1]), _poll, lambda: _drop_keys(clients[0]))
    for client in clients:
        client.close()


@pytest.fixture
def ledger(backend: Backend) -> Ledger:
    return backend.ledger


@pytest.fixture
def job() -> str:
    return f"job-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def kind() -> str:
    return f"trainer-{uuid.uuid4().hex[:12]}"


def _simulated() -> Backend:
    time_now = [1000.0]
    ledger = SimulatedLedger(lambda: time_now[0])

    def wait_until(condition: Callable[[], bool]) -> None:
        for _ in range(100):
            if condition():
                return
            time_now[0] += SHORT
        pytest.fail("did not happen in simulated time")

    return Backend(ledger, ledger, wait_until, ledger.wipe)


def _poll(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, f"did not happen within {PATIENCE} s"
        time.sleep(0.01)


def _drop_keys(client: redis.Redis) -> None:
    for key in client.scan_iter(match="warren:*"):
        client.delete(key)


def test_of_two_aggregators_one_gets_the_lease(backend: Backend, job: str) -> None:
    assert backend.ledger.acquire(job, "one", LONG)
    assert not backend.other.acquire(job, "two", LONG)
    assert backend.other.holder(job) == "one"


def test_who_holds_a_lease_may_take_it_again(ledger: Ledger, job: str) -> None:
    assert ledger.acquire(job, "one", LONG)
    assert ledger.acquire(job, "one", LONG)


def test_a_lease_that_is_not_renewed_goes_to_another(backend: Backend, job: str) -> None:
    assert backend.ledger.acquire(job, "one", SHORT)
    backend.wait_until(lambda: backend.other.acquire(job, "two", LONG))
    assert backend.ledger.renew([job], "one", LONG).held == frozenset()
    assert backend.ledger.holder(job) == "two"


def test_a_renewed_lease_outlives_its_first_span(backend: Backend, job: str) -> None:
    assert backend.ledger.acquire(job, "one", 1.0)
    assert backend.ledger.renew([job], "one", LONG).held == {job}
    past = backend.ledger.now() + 1.0
    backend.wait_until(lambda: backend.ledger.now() > past)
    assert backend.ledger.holder(job) == "one"


def test_renewing_says_which_leases_are_still_held(backend: Backend, job: str) -> None:
    jobs = [f"{job}-{number}" for number in range(3)]
    assert backend.ledger.acquire(jobs[0], "one", LONG)
    assert backend.other.acquire(jobs[1], "two", LONG)
    assert backend.ledger.renew(jobs, "one", LONG).held == {jobs[0]}
    assert backend.other.holder(jobs[2]) is None


def test_renewing_nothing_still_gives_time_and_epoch(ledger: Ledger) -> None:
    before = ledger.now()
    pulse = ledger.renew([], "one", LONG)
    assert pulse.held == frozenset()
    assert pulse.epoch
    assert before <= pulse.now <= ledger.now()


def test_only_the_holder_releases_a_lease(backend: Backend, job: str) -> None:
    assert backend.ledger.acquire(job, "one", LONG)
    backend.other.release(job, "two")
    assert backend.ledger.holder(job) == "one"
    backend.ledger.release(job, "one")
    assert backend.other.acquire(job, "two", LONG)


def test_the_epoch_stays_until_a_wipe_and_is_another_one_after(backend: Backend) -> None:
    first = backend.ledger.renew([], "one", LONG).epoch
    assert backend.other.renew([], "two", LONG).epoch == first
    backend.wipe()
    assert backend.ledger.renew([], "one", LONG).epoch != first


def test_a_wipe_takes_leases_deadlines_progress_and_presences(backend: Backend, job: str, kind: str) -> None:
    ledger = backend.ledger
    ledger.acquire(job, "one", LONG)
    ledger.start_deadline(job, 1, "close", LONG)
    ledger.set_progress(job, {"round": "1"})
    ledger.announce(Presence(kind, "t1"), LONG)
    backend.wipe()
    assert ledger.renew([job], "one", LONG).held == frozenset()
    assert ledger.deadlines(job, 1) == {}
    assert ledger.progress(job) == {}
    assert ledger.presences(kind) == []


def test_a_deadline_falls_when_it_was_first_started_for(backend: Backend, job: str) -> None:
    before = backend.ledger.now()
    at = backend.ledger.start_deadline(job, 3, "close", 60.0)
    assert before + 59.9 <= at <= backend.ledger.now() + 60.1
    assert backend.other.start_deadline(job, 3, "close", 5.0) == at
    assert backend.other.deadlines(job, 3) == {"close": at}


def test_each_name_and_round_has_its_own_deadline(ledger: Ledger, job: str) -> None:
    first = ledger.start_deadline(job, 3, "close", 60.0)
    second = ledger.start_deadline(job, 3, "close-1", 120.0)
    ledger.start_deadline(job, 4, "close", 30.0)
    assert ledger.deadlines(job, 3) == {"close": first, "close-1": second}
    assert second > first + 30
    assert ledger.deadlines(job, 5) == {}


def test_after_a_wipe_a_deadline_starts_again_in_full(backend: Backend, job: str) -> None:
    first = backend.ledger.start_deadline(job, 1, "close", 60.0)
    backend.wait_until(lambda: backend.ledger.now() > first - 60.0 + SHORT)
    backend.wipe()
    assert backend.ledger.start_deadline(job, 1, "close", 60.0) > first


def test_progress_keeps_the_fields_that_were_not_overwritten(backend: Backend, job: str) -> None:
    backend.ledger.set_progress(job, {"round": "1", "state": "running"})
    backend.ledger.set_progress(job, {"round": "2", "reason": "größer als π"})
    expected = {"round": "2", "state": "running", "reason": "größer als π"}
    assert backend.other.progress(job) == expected


def test_progress_of_an_unknown_job_is_empty(ledger: Ledger, job: str) -> None:
    ledger.set_progress(job, {})
    assert ledger.progress(job) == {}


def test_whoever_announced_is_listed_by_id_with_what_was_said_last(backend: Backend, kind: str) -> None:
    backend.ledger.announce(Presence(kind, "site.b.2", {"state": "idle"}), LONG)
    backend.ledger.announce(Presence(kind, "site.a.1", {"state": "idle"}), LONG)
    backend.other.announce(Presence(kind, "site.b.2", {"state": "training", "job": "ä"}), LONG)
    assert backend.ledger.presences(kind) == [
        Presence(kind, "site.a.1", {"state": "idle"}),
        Presence(kind, "site.b.2", {"state": "training", "job": "ä"}),
    ]
    assert backend.ledger.presences(f"{kind}x") == []


def test_whoever_falls_silent_is_gone(backend: Backend, kind: str) -> None:
    backend.ledger.announce(Presence(kind, "stays"), LONG)
    backend.ledger.announce(Presence(kind, "goes"), SHORT)
    backend.wait_until(lambda: [there.id for there in backend.ledger.presences(kind)] == ["stays"])


def test_what_is_listed_does_not_change_with_what_was_passed_in(ledger: Ledger, job: str, kind: str) -> None:
    fields = {"state": "idle"}
    ledger.announce(Presence(kind, "t1", fields), LONG)
    ledger.set_progress(job, fields)
    fields["state"] = "changed"
    assert ledger.presences(kind)[0].fields == {"state": "idle"}
    assert ledger.progress(job) == {"state": "idle"}


def test_hundreds_of_presences_are_all_listed(ledger: Ledger, kind: str) -> None:
    names = [f"t{number:03}" for number in range(300)]
    for name in names:
        ledger.announce(Presence(kind, name, {"host": name}), LONG)
    assert [there.id for there in ledger.presences(kind)] == names


def test_forgetting_a_job_leaves_the_others(ledger: Ledger, job: str) -> None:
    for name in (job, f"{job}-b"):
        ledger.acquire(name, "one", LONG)
        ledger.start_deadline(name, 1, "close", LONG)
        ledger.start_deadline(name, 2, "close", LONG)
        ledger.set_progress(name, {"round": "2"})
    ledger.forget(job)
    assert (ledger.holder(job), ledger.deadlines(job, 1), ledger.deadlines(job, 2)) == (None, {}, {})
    assert ledger.progress(job) == {}
    assert ledger.holder(f"{job}-b") == "one"
    assert ledger.deadlines(f"{job}-b", 2).keys() == {"close"}
    assert ledger.progress(f"{job}-b") == {"round": "2"}
