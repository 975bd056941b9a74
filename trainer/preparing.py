"""From a delivery to work that can begin: what it is, whether it is still wanted, and its files fetched."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..broker.errors import MessageUnreadable
from ..broker.messages import Completion, Failure, RoundJob, decode
from ..broker.ports import Delivery
from ..storage import keys
from ..storage.errors import ObjectDamaged, ObjectMissing
from ..storage.job import JobSpec
from ..storage.parcels import MEMBER_BYTES_MAX, MEMBER_BYTES_MAX_NEAR
from .checkpoints import Checkpoints
from .code import TaskCode, TaskNotInstalled
from .patience import HandBack, Patience, fields_of
from .ports import Bench
from .specs import Specs
from .standing import Standing
from .states import States
from .stored import Stored
from .wire import INLINE_BYTES_MAX, Work

log = logging.getLogger("warren.trainer")


@dataclass(frozen=True, slots=True)
class Ready:
    """A round job whose turn may come: its work, or what there is to tell of it without any."""

    delivery: Delivery
    job: RoundJob
    spec: JobSpec
    begun: float  # by the worker's clock
    todo: Work | Completion


class Preparing:
    """One trainer's. Settles by itself what needs no work and is not told either."""

    def __init__(
        self,
        bench: Bench,
        code: TaskCode,
        checkpoints: Checkpoints,
        states: States,
        attempt: Callable[[], str],
        early: Callable[[RoundJob, JobSpec, str, Path], Callable[[int, int], None] | None],
    ) -> None:
        self._bench = bench
        self._code = code
        self._checkpoints = checkpoints
        self._states = states
        self._attempt = attempt
        self._early = early
        self._specs = Specs(bench.store)
        self._stored = Stored(bench.store, bench.source, bench.clock)
        self._standing = Standing(bench)
        self._persist = Patience(bench.stop, self._standing)
        self._near: bool | None = None  # whether objects are files here; None: not looked yet

    def ready(self, delivery: Delivery, output: Path) -> Ready | None:
        """The round job of a delivery, ready to be worked on; None where the delivery is settled.

        Args:
            output: where its update is to be written.
        """
        begun = self._bench.clock()
        try:
            job = self.read(delivery)
            spec = self._persist(None, self._specs.of, job.job)
        except (MessageUnreadable, ObjectMissing, ObjectDamaged) as error:
            log.warning("dead letter: %s", error)
            delivery.dead_letter()
            return None
        except HandBack:
            delivery.requeue()
            return None
        try:
            return Ready(delivery, job, spec, begun, self._todo(delivery, job, spec, output))
        except HandBack as why:
            give_up(self._bench, delivery, job, why)
            return None

    def read(self, delivery: Delivery) -> RoundJob:
        """The round job. Raises MessageUnreadable."""
        job = decode(delivery.body, RoundJob)
        if job.source != self._bench.source:
            raise MessageUnreadable(f"a round job of {job.source} in a queue of {self._bench.source}")
        return job

    def small_bytes(self, job: RoundJob) -> int:
        """The most that an update of this client may have to leave together with others; 0: it is alone."""
        if not job.parcels:
            return 0
        if self._near is None:
            self._near = self._bench.store.local_path(keys.spec(job.job)) is not None
        return MEMBER_BYTES_MAX_NEAR if self._near else MEMBER_BYTES_MAX

    def failed(self, job: RoundJob, attempt: str, error: str, text: str) -> Completion:
        """What to tell of a client whose work could not be done."""
        log.error("%s: %s", error, text, extra=fields_of(job))
        return self.completion(job, attempt, outcome="failed", failure=Failure(error=error, text=text[:4000]))

    def completion(self, job: RoundJob, attempt: str, **fields: object) -> Completion:
        """What to tell of a round job."""
        said = {"job": job.job, "round": job.round, "kind": job.kind, "client": job.client, "attempt": attempt}
        return Completion.model_validate({**said, "trainer": self._bench.name, **fields})

    def _todo(self, delivery: Delivery, job: RoundJob, spec: JobSpec, output: Path) -> Work | Completion:
        """What is left to do. Raises HandBack: it is no longer wanted, or the trainer stops."""
        dropped = self._persist(None, self._standing.dropped, job, spec)
        if dropped is not None:
            raise HandBack(dropped)
        if (job.again or delivery.deliveries_before > 0) and job.kind in ("init", "train"):
            self._standing.begin(spec)
            told = self._persist(job, self._told_before, job)
            if told is not None:
                return told
        try:
            return self._persist(job, self._work, job, spec, output)
        except (TaskNotInstalled, ObjectMissing, ObjectDamaged) as error:
            return self.failed(job, "-".join(("prepare", self._attempt())), type(error).__name__, str(error))

    def _told_before(self, job: RoundJob) -> Completion | None:
        """The completion of an update that is in the store already: it may never have been told."""
        found = self._stored.find(job)
        if found is None:
            return None
        name, size = found
        return self.completion(job, name.attempt, outcome="updated", size=size, parcel=name.parcel or None)

    def _work(self, job: RoundJob, spec: JobSpec, output: Path) -> Work:
        attempt = self._attempt()
        return Work(
            kind=job.kind,
            spec=spec,
            job_round=job.round,
            client=job.client,
            index=job.index,
            count=job.count,
            site=job.site,
            attempt=attempt,
            task_path=self._code.path(spec),
            base_path=self._checkpoints.path(job),
            output_path=output,
            held_out=job.kind == "test",
            share=job.share,
            state_path=self._states.path(job, spec),
            server_path=self._states.server(job),
            inline=min(self.small_bytes(job), INLINE_BYTES_MAX),
            wrote=self._early(job, spec, attempt, output),
        )


def give_up(bench: Bench, delivery: Delivery, job: RoundJob, why: HandBack) -> None:
    """Nothing comes of this round job here: others have it where the trainer stops, else nobody wants it."""
    if bench.stop.is_set():
        delivery.requeue()
    else:
        log.info("dropped: %s", why, extra=fields_of(job))
        delivery.ack()
