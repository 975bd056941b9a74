"""A server dies, forgets, refuses or is cut off in mid-round: the job waits, goes on, and the bytes stay."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from services.fleet import Fleet
from services.member import Member
from services.tasks import EXTENDING, write_job

pytestmark = pytest.mark.services
MEMORY_MARK = "0.6"
REFUSALS = 8  # of the store before it takes writes again: some ten seconds, as tries are further and further apart
Fault = Callable[[Fleet], contextlib.AbstractContextManager[Callable[[], bool]]]


@pytest.fixture(scope="module")
def crew(fleet: Fleet) -> tuple[Member, Member]:
    """A trainer and an aggregator."""
    worker, leader = (
        fleet.add("trainer", "worker", start=False),
        fleet.add("aggregator", "leader", "--lease", "3s", start=False),
    )
    fleet.start(worker, leader)
    return worker, leader


@contextlib.contextmanager
def rabbitmq_killed(fleet: Fleet) -> Iterator[Callable[[], bool]]:
    fleet.servers.rabbit.kill()
    yield lambda: True
    fleet.servers.rabbit.start()


@contextlib.contextmanager
def redis_killed(fleet: Fleet) -> Iterator[Callable[[], bool]]:
    says = listening(fleet)
    fleet.servers.redis.kill()
    yield lambda: says("redis at")
    fleet.servers.redis.start()


@contextlib.contextmanager
def redis_wiped(fleet: Fleet) -> Iterator[Callable[[], bool]]:
    fleet.servers.redis.kill()
    fleet.servers.redis.wipe()
    yield lambda: True
    fleet.servers.redis.start()


@contextlib.contextmanager
def redis_full(fleet: Fleet) -> Iterator[Callable[[], bool]]:
    says = listening(fleet)
    fleet.redis.config_set("maxmemory", "1")
    yield lambda: says("maxmemory")
    fleet.redis.config_set("maxmemory", "0")


@contextlib.contextmanager
def store_killed(fleet: Fleet) -> Iterator[Callable[[], bool]]:
    fleet.servers.s3.kill()
    yield lambda: True
    fleet.servers.s3.start()


@contextlib.contextmanager
def store_refusing_writes(fleet: Fleet) -> Iterator[Callable[[], bool]]:
    with contextlib.ExitStack() as stack:
        for member in fleet.members:
            stack.enter_context(member.gate.refusing("PUT", "", 503, "SlowDownWrite"))
        yield lambda: refused(fleet) > REFUSALS


@contextlib.contextmanager
def store_full(fleet: Fleet) -> Iterator[Callable[[], bool]]:
    says = listening(fleet)
    with contextlib.ExitStack() as stack:
        for member in fleet.members:
            stack.enter_context(member.gate.refusing("PUT", "", 507, "XMinioStorageFull"))
        yield lambda: says("is full (XMinioStorageFull)")


@contextlib.contextmanager
def rabbitmq_out_of_memory(fleet: Fleet) -> Iterator[Callable[[], bool]]:
    fleet.servers.rabbit.ctl("set_vm_memory_high_watermark", "0.0001")
    yield lambda: blocked(fleet)
    fleet.servers.rabbit.ctl("set_vm_memory_high_watermark", MEMORY_MARK)


@contextlib.contextmanager
def network_dropped(fleet: Fleet) -> Iterator[Callable[[], bool]]:
    """No byte passes for longer than RabbitMQ's heartbeat; then all connections are reset and new ones taken."""
    before = [member.amqp.accepted for member in fleet.members]
    with contextlib.ExitStack() as stack:
        for member in fleet.members:
            stack.enter_context(member.amqp.stalled())
            stack.enter_context(member.redis.stalled())
            stack.enter_context(member.gate.holding("PUT", ""))
            stack.enter_context(member.gate.holding("GET", ""))
        yield lambda: all(m.amqp.accepted > n for m, n in zip(fleet.members, before, strict=True))
    for member in fleet.members:
        member.amqp.cut()
        member.redis.cut()


def listening(fleet: Fleet) -> Callable[[str], bool]:
    """Asks whether a member's log has said some words from now on."""
    before = {member.name: member.log.stat().st_size for member in fleet.members}
    return lambda words: any(words in m.log.read_bytes()[before[m.name] :].decode() for m in fleet.members)


def blocked(fleet: Fleet) -> bool:
    """Whether RabbitMQ holds a publisher back."""
    return any(one.get("state") in ("blocked", "blocking") for one in fleet.servers.rabbit.api("GET", "connections"))


def refused(fleet: Fleet) -> int:
    return sum(member.gate.refused for member in fleet.members)


FAULTS: list[Fault] = [
    rabbitmq_killed,
    redis_killed,
    redis_wiped,
    redis_full,
    store_killed,
    store_refusing_writes,
    store_full,
    rabbitmq_out_of_memory,
    network_dropped,
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_in_trouble_in_mid_round_costs_nothing_but_time(
    fleet: Fleet, crew: tuple[Member, Member], expected: Callable[..., list[str]], tmp_path: Path, fault: Fault
) -> None:
    gate = tmp_path / "gate"
    job_file = write_job(tmp_path, gate=gate, **EXTENDING)
    (gate / "hold-c002").touch()
    job = fleet.submit(job_file)
    fleet.until((gate / "reached-c002").exists, "c002 trains")
    with fault(fleet) as felt:
        (gate / "hold-c002").unlink()
        fleet.until(felt, f"{fault.__name__} is felt")
    watch = fleet.watch(job)
    fleet.finished(job, watch=watch)
    watch.check(3)
    assert watch.digests(3) == expected()
    assert all(member.alive and member.starts == 1 for member in fleet.members), "nobody had to be started again"
