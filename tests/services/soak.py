"""The soak: anything is killed at random moments while jobs run; nothing may be lost, counted twice, or changed."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.fleet import Fleet
from services.member import Member
from services.tasks import write_job
from services.watch import Watch

from warren.aggregator.record import Record

JOB: Mapping[str, Any] = {"clients": 6, "rounds": 8}
LIVES: Mapping[str, Any] = {"quorum": "100%", "below_quorum": "extend", "max_extensions": 1000, "deadline": "15s"}
PAUSE_SECONDS_MAX = 1.5  # between a recovery and the next kill
RECOVERY_SECONDS_MAX = 180.0
LEASE = "3s"
TRAINERS, AGGREGATORS = 3, 2


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill, and how long it took until the job's next round was committed: the server's own start included."""

    fault: str
    recovery_seconds: float


class Soak:
    """Kills by a seed. Every job must come to the digests given."""

    def __init__(self, fleet: Fleet, folder: Path, seed: int, expected: Sequence[str]) -> None:
        self._fleet = fleet
        self._folder = folder
        self._chance = random.Random(seed)
        self._expected = list(expected)
        self._trainers = [fleet.add("trainer", f"trainer-{n}", start=False) for n in range(TRAINERS)]
        self._aggregators = [
            fleet.add("aggregator", f"aggregator-{n}", "--lease", LEASE, start=False) for n in range(AGGREGATORS)
        ]
        self.jobs: list[str] = []
        self.kills: list[Kill] = []

    def run(self, kills: int, say: Callable[[str], None] = lambda _: None) -> None:
        """Kill so many times, over as many jobs as that takes. Raises AssertionError."""
        self._fleet.start(*self._trainers, *self._aggregators)
        while len(self.kills) < kills:
            job_file = write_job(self._folder / f"job-{len(self.jobs)}", **JOB, **LIVES)
            job = self._fleet.submit(job_file)
            self.jobs.append(job)
            watch = self._fleet.watch(job)
            while len(self.kills) < kills and not self._done(job):
                self._kill_something(job, watch)
                say(f"{len(self.kills)}/{kills} {self.kills[-1].fault}: {self.kills[-1].recovery_seconds:.1f} s")
            self._fleet.finished(job, RECOVERY_SECONDS_MAX, watch)
            watch.check(JOB["rounds"])
            digests = watch.digests(JOB["rounds"])
            assert digests == self._expected, f"{job} came to other bytes: {digests}"
            say(f"{job} is done: {JOB['rounds']} rounds, the bytes of an undisturbed run")

    def _kill_something(self, job: str, watch: Watch) -> None:
        time.sleep(self._chance.uniform(0, PAUSE_SECONDS_MAX))  # the moment is random: nothing is waited for
        strike = self._chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        before = self._committed(job)
        start = time.monotonic()
        fault = strike(self, job)

        def recovered() -> bool:
            watch.look()
            return self._committed(job) > before or self._done(job)

        self._fleet.until(recovered, f"{job} goes on after: {fault}", RECOVERY_SECONDS_MAX)
        self.kills.append(Kill(fault, time.monotonic() - start))

    def _done(self, job: str) -> bool:
        return self._fleet.command(job) == "done"

    def _committed(self, job: str) -> int:
        """The number of the last committed round; -1 before any."""
        record = Record(self._fleet.store, job)
        highest = record.highest_manifest()
        if highest is None:
            return -1
        return highest if record.committed(highest) else highest - 1

    def _kill_one_of(self, members: Sequence[Member]) -> Member:
        """Kill one, and start it again at once; others go on meanwhile."""
        for member in members:
            if not member.alive:
                member.start()
        there = [member for member in members if self._fleet.present(member)]
        victim = self._chance.choice(there or list(members))
        victim.kill()
        return victim

    def kill_trainer(self, job: str) -> str:
        self._kill_one_of(self._trainers).start()
        return "trainer killed"

    def kill_aggregator(self, job: str) -> str:
        leader = self._fleet.ledger.progress(job).get("leader")
        victim = self._kill_one_of(self._aggregators)
        led = victim.id == leader
        victim.start()
        return f"aggregator killed that {'led the job' if led else 'did not lead the job'}"

    def kill_rabbitmq(self, job: str) -> str:
        self._fleet.servers.rabbit.kill()
        self._fleet.servers.rabbit.start()
        return "RabbitMQ killed, restarted with its data"

    def kill_redis(self, job: str) -> str:
        self._fleet.servers.redis.kill()
        self._fleet.servers.redis.start()
        return "Redis killed, restarted with its data"

    def empty_redis(self, job: str) -> str:
        self._fleet.servers.redis.kill()
        self._fleet.servers.redis.wipe()
        self._fleet.servers.redis.start()
        return "Redis killed, restarted empty"

    def kill_store(self, job: str) -> str:
        self._fleet.servers.s3.kill()
        self._fleet.servers.s3.start()
        return "object store killed, restarted with its data"


WEIGHTS: Mapping[Callable[[Soak, str], str], int] = {
    Soak.kill_trainer: 38,
    Soak.kill_aggregator: 27,
    Soak.kill_rabbitmq: 8,
    Soak.kill_redis: 9,
    Soak.empty_redis: 9,
    Soak.kill_store: 9,
}


def summary(kills: Iterable[Kill]) -> list[dict[str, object]]:
    """One row a fault: how often, and how long recovery took."""
    times: dict[str, list[float]] = {}
    for kill in kills:
        times.setdefault(kill.fault, []).append(kill.recovery_seconds)
    return [
        {
            "fault": fault,
            "kills": len(times[fault]),
            "median_seconds": round(statistics.median(times[fault]), 1),
            "worst_seconds": round(max(times[fault]), 1),
        }
        for fault in sorted(times, key=str.lower)
    ]
