"""The soak: anything is killed at random moments while jobs run; nothing may be lost, counted twice, or changed."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.fleet import Fleet
from services.member import Member
from services.tasks import write_job
from services.watch import Watch

from warren.aggregator.record import Record

JOB = {"clients": 6, "rounds": 8}
LIVES: Mapping[str, object] = {"quorum": "100%", "below_quorum": "extend", "max_extensions": 1000, "deadline": "15s"}
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
            watch.check(int(JOB["rounds"]))
            digests = watch.digests(int(JOB["rounds"]))
            assert digests == self._expected, f"{job} came to other bytes: {digests}"
            say(f"{job} is done: {JOB['rounds']} rounds, the bytes of an undisturbed run")

    def _kill_something(self, job: str, watch: Watch) -> None:
        time.sleep(self._chance.uniform(0, PAUSE_SECONDS_MAX))  # the moment is random: nothing is waited for
        fault = self._chance.choices(list(FAULTS), [weight for _, weight in FAULTS.values()])[0]
        before = self._committed(job)
        start = time.monotonic()
        FAULTS[fault][0](self)

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

    def _one_of(self, members: Sequence[Member]) -> None:
        """Kill one, and start it again at once; others go on meanwhile."""
        for member in members:
            if not member.alive:
                member.start()
        there = [member for member in members if self._fleet.present(member)]
        victim = self._chance.choice(there or list(members))
        victim.kill()
        victim.start()

    def kill_trainer(self) -> None:
        self._one_of(self._trainers)

    def kill_aggregator(self) -> None:
        self._one_of(self._aggregators)

    def kill_rabbitmq(self) -> None:
        self._fleet.servers.rabbit.kill()
        self._fleet.servers.rabbit.start()

    def kill_redis(self) -> None:
        self._fleet.servers.redis.kill()
        self._fleet.servers.redis.start()

    def empty_redis(self) -> None:
        self._fleet.servers.redis.kill()
        self._fleet.servers.redis.wipe()
        self._fleet.servers.redis.start()

    def kill_store(self) -> None:
        self._fleet.servers.s3.kill()
        self._fleet.servers.s3.start()


FAULTS: Mapping[str, tuple[Callable[[Soak], None], int]] = {
    "trainer killed": (Soak.kill_trainer, 40),
    "aggregator killed": (Soak.kill_aggregator, 25),
    "RabbitMQ killed, restarted with its data": (Soak.kill_rabbitmq, 8),
    "Redis killed, restarted with its data": (Soak.kill_redis, 9),
    "Redis killed, restarted empty": (Soak.empty_redis, 9),
    "object store killed, restarted with its data": (Soak.kill_store, 9),
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
        for fault in FAULTS
        if fault in times
    ]
