"""The aggregator: finds jobs, leads each under a lease, reads dead letters, collects what is no longer needed."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, TypeVar

from .. import __version__
from ..broker.ports import Broker
from ..storage.errors import ObjectDamaged, ObjectMissing, SpecInvalid, StorageError
from ..storage.job import JobSpec
from ..storage.objects import ObjectStore
from ..storage.ports import Ledger
from .collecting import Collecting
from .dead_letters import DeadLetters
from .drawing import draw_apart
from .finding import Finding
from .flow.leader import FlowLeader
from .labelling import Labelling
from .leader import Leader
from .leases import Lease, Leases
from .ports import Begin, Draw, House, News, Numbers, Stop
from .record import Record
from .tracking import Tracking

LEASE_SECONDS = 10.0
READERS = 4  # updates that are fetched and examined at a time
JOBS_MAX = 256  # led at a time by one aggregator: each has a thread

log = logging.getLogger("warren.aggregator")

T = TypeVar("T")
Spawn = Callable[[str, Callable[[], None]], None]
Tracked = Callable[[JobSpec], AbstractContextManager[None]]  # what follows a job while it is led


class Aggregator:
    """Everything that one aggregator process does. Any number of them share the jobs."""

    def __init__(
        self,
        store: ObjectStore,
        broker: Broker,
        news: News,
        ledger: Ledger,
        *,
        name: str,
        scratch: Path,
        lease_seconds: float = LEASE_SECONDS,
        memory_limit: int | None = None,
        tracking: Path | None = None,
        draw: Draw = draw_apart,
    ) -> None:
        """Prepare; nothing is contacted before `run`.

        Args:
            store, broker, news, ledger: the adapters; used by several threads, closed by the caller.
            name: for people, unique among the aggregators.
            scratch: a folder for updates on their way; emptied at start and end.
            lease_seconds: how long a dead aggregator keeps its jobs.
            memory_limit: bytes; a model whose fold would take more is folded range by range. None: no limit.
            tracking: a folder for the files of trackers that jobs name; kept.
            draw: makes the derived files of a job.
        """
        nonce = secrets.token_hex(16)
        pool = ThreadPoolExecutor(READERS, thread_name_prefix="warren-read")
        self._pool = pool
        numbers, self._labelling = _numbers(store, scratch, memory_limit), Labelling(store)
        self._house = House(
            store,
            broker,
            news,
            ledger,
            numbers,
            name,
            nonce,
            _wall_clock,
            draw,
            self._labelling.told,
            beside(pool),
        )
        self._lease_seconds = lease_seconds
        self._tracking = Tracking(store, ledger, tracking)
        self._threads: list[threading.Thread] = []

    def run(self, stop: Stop) -> None:
        """Serve until told to stop; then hand over the leases and return."""
        crew = Crew(self._house, self._lease_seconds, stop, self._spawn, self._tracking.of)
        try:
            crew.work()
        finally:
            for thread in self._threads:
                thread.join()
            self._tracking.close()
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._labelling.close()

    def _spawn(self, name: str, work: Callable[[], None]) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=work, name=f"warren-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()


@contextmanager
def _untracked(_: JobSpec) -> Iterator[None]:
    yield


class Crew:
    """The loops of an aggregator and how they hang together, whatever runs them: threads, or a simulation."""

    def __init__(
        self, house: House, lease_seconds: float, stop: Stop, spawn: Spawn, tracked: Tracked = _untracked
    ) -> None:
        facts = {"host": socket.gethostname(), "pid": str(os.getpid()), "version": __version__}
        self._house = house
        self._stop = stop
        self._spawn = spawn
        self._tracked = tracked
        self._leases = Leases(house.ledger, house.nonce, house.name, lease_seconds, facts)
        self._finding = Finding(house.store, house.broker, self._leases, self.lead)
        self._collecting = Collecting(house.store)
        self._led: set[str] = set()

    def work(self) -> None:
        """Start the loops, and look for jobs until told to stop."""
        self._spawn("leases", lambda: self._leases.keep_up(self._stop))
        self._spawn("dead-letters", lambda: self._dead_letters().run(self._stop))
        self._spawn("collecting", lambda: self._collecting.run(self._stop))
        self._finding.run(self._stop)

    def lead(self, job: str) -> None:
        """Lead the job if its lease is free, until it ends or is lost. Returns at once."""
        if job in self._led or len(self._led) >= JOBS_MAX or self._stop.is_set():
            return
        lease = self._leases.take(job)
        if lease is not None:
            self._led.add(job)
            self._spawn(f"leads-{job}", lambda: self._lead(lease))

    def _lead(self, lease: Lease) -> None:
        try:
            spec = Record(self._house.store, lease.job).spec()
            self._collecting.whole(spec)  # what a crash left
            leader = FlowLeader if spec.schedule.asynchronous else Leader
            with self._tracked(spec):
                end = leader(self._house, spec, lease, self._stop, self._committed).run()
            if end is not None:
                self._finding.over(lease.job)
                self._collecting.whole(spec)
        except (ObjectMissing, ObjectDamaged, SpecInvalid, StorageError) as error:
            log.error("can't be led: %s", error, extra={"job": lease.job})  # noqa: TRY400
            self._finding.passed_over(lease.job)
        except Exception:
            log.exception("leading broke off; it is taken up again", extra={"job": lease.job})
            self._finding.passed_over(lease.job)
        finally:
            self._house.numbers.forget(lease.job)
            self._led.discard(lease.job)
            self._leases.give_back(lease)

    def _committed(self, spec: JobSpec, round_number: int) -> None:
        self._collecting.committed(spec, round_number)

    def _dead_letters(self) -> DeadLetters:
        return DeadLetters(self._house.broker, self._house.news, self._house.store)


def _numbers(store: ObjectStore, scratch: Path, memory_limit: int | None) -> Numbers:
    from .averaging import Averaging  # torch: a second and 200 MB, not before there is something to serve
    from .warming import warm_up

    warm_up()
    return Averaging(store, scratch, memory_limit=memory_limit)


@dataclass(frozen=True, slots=True)
class InThread(Generic[T]):
    """A call that was begun in a thread."""

    future: Future[T]

    @property
    def done(self) -> bool:
        return self.future.done()

    def __call__(self) -> T:
        return self.future.result()

    def drop(self) -> None:
        self.future.cancel()


def beside(pool: ThreadPoolExecutor) -> Begin:
    """Calls begun in these threads."""

    def begin(call: Callable[[], T], /) -> InThread[T]:
        return InThread(pool.submit(call))

    return begin


def _wall_clock() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
