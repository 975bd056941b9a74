"""Takes round jobs and has them trained; what comes of it leaves by the outbox, beside the next one's training."""

from __future__ import annotations

import logging
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from .. import __version__
from ..broker.declaring import declare_missing
from ..broker.errors import BrokerError, MessageUnreadable
from ..broker.messages import Completion, Failure, RoundJob, decode
from ..broker.ports import Broker, Consumer, Delivery
from ..broker.topology import evaluations_queue, rounds_queue
from ..storage import keys
from ..storage.errors import ObjectDamaged, ObjectMissing
from ..storage.job import JobSpec
from ..storage.objects import ObjectStore
from ..storage.parcels import MEMBER_BYTES_MAX, MEMBER_BYTES_MAX_NEAR
from ..storage.ports import Ledger
from .beside import OneThread
from .bundle import Pace
from .checkpoints import Checkpoints
from .code import TaskCode, TaskNotInstalled
from .outbox import BESIDE, Leaving, Outbox
from .patience import RETRY_SECONDS_MAX, HandBack, Patience, fields_of
from .ports import Bench, Beside, News, Stop, Training
from .presence import Announcing
from .specs import Specs
from .standing import Standing
from .states import States
from .stored import Stored
from .wire import Crashed, Evaluated, Outcome, Stopped, TaskFailed, Trained, Work

IDLE_SECONDS = 1.0  # of one wait for a round job, on the broker: how late a stop may be noticed
PAUSE_SECONDS = 0.2  # between two round jobs; who waits longer is idle
IDS_DRAWN = 100  # at a time
CRASHES_FORGIVEN = 1  # of the training process, for one round job; the next one fails the client

log = logging.getLogger("warren.trainer")


Told = tuple[Completion, Trained | None]  # what to tell, and the update to store before


class Worker:
    """One trainer: one round job at a time in a training process of its own, while the one before it leaves."""

    def __init__(
        self,
        store: ObjectStore,
        broker: Broker,
        news: News,
        ledger: Ledger,
        training: Training,
        *,
        name: str,
        source: str,
        tasks_dir: Path | None,
        accept_code: bool,
        cache: Path,
        personal: Path | None = None,
        device: str = "",
        share_errors: bool = True,
        clock: Callable[[], float] = time.monotonic,
        attempt: Callable[[], str] | None = None,
        beside: Beside | None = None,
        pace: Pace | None = None,
    ) -> None:
        """Prepare; nothing is contacted before `run`.

        Args:
            store, broker, news, ledger, training: the adapters; closed by the caller.
            name: for people, unique among the trainers.
            source: "pool.<name>" or "site.<name>": whose round jobs to take.
            tasks_dir: where installed tasks lie, if anywhere.
            accept_code: whether to run the source that came with a job.
            cache: a folder of this trainer's alone, for checkpoints, accepted code and updates on their way.
            personal: where a site's personal layers stay, for all its trainers; in `cache` if not given.
            device: for people.
            share_errors: whether an exception's text may leave, where the job asks for it; its type, file and
                line always do.
            clock: monotonic seconds.
            attempt: makes the id of an attempt; at random if not given.
            beside: runs what leaves beside the training; a thread if not given.
            pace: says whether round jobs are short enough to leave together; by the last eight if not given.
        """
        self._adapters = (store, broker, news, ledger, training)
        self._name = name
        self._source = source
        self._share_errors = share_errors
        self._clock = clock
        self._attempt = attempt or partial(next, _random_ids())
        self._facts = {"host": socket.gethostname(), "source": source, "device": device, "version": __version__}
        self._code = TaskCode(store, tasks_dir, accept_code=accept_code, cache=cache / "tasks", name=name)
        self._checkpoints = Checkpoints(store, cache / "checkpoints")
        self._states = States(store, cache, personal or cache / "personal")
        self._outputs = [cache / f"update-{number}.safetensors" for number in range(BESIDE)]  # one is on its way
        self._specs = Specs(store)
        self._near: bool | None = None  # whether objects are files here; None: not looked yet
        self._stored_before = Stored(store, source, clock)
        self._beside = beside or OneThread(name)
        self._pace = pace or Pace()

    def run(self, stop: Stop) -> None:
        """Work until told to stop; work in hand then goes back to its queue."""
        self._bench = Bench(*self._adapters, stop, self._name, self._source, self._clock)
        self._standing = Standing(self._bench)
        self._persist = Patience(stop, self._standing)
        self._presence = Announcing(self._bench.ledger, self._name, self._facts, self._clock)
        self._outbox = Outbox(self._bench, self._states, self._beside, self._pace)
        consumer: Consumer | None = None
        while not stop.is_set():
            try:
                consumer = consumer or self._consume()
                delivery = self._next(consumer)
                if delivery is not None:
                    self._serve(delivery)
                    consumer.allow(self._outbox.ahead)
            except BrokerError as error:
                log.warning("no round jobs: %s", error)
                self._outbox.tell()
                stop.wait(RETRY_SECONDS_MAX)
        self._outbox.close()
        self._beside.close()
        if consumer is not None:
            consumer.close()

    def _serve(self, delivery: Delivery) -> None:
        """One round job, beside the one before it."""
        suspect = delivery.deliveries_before > 0  # it may be what ended a trainer: nothing else depends on it
        if suspect:
            self._outbox.alone()
        self._handle(delivery, self._clock())
        if suspect:
            self._outbox.alone()

    def _next(self, consumer: Consumer) -> Delivery | None:
        """The next round job. Idleness is said once it lasts: between short jobs it would cost as much as they do."""
        if self._outbox.waits:
            delivery = None if self._outbox.full else consumer.take(0.0)
            if delivery is not None:
                return delivery
            self._outbox.tell()
        delivery = consumer.take(PAUSE_SECONDS) if self._presence.anything else None
        if delivery is None:
            self._rest()
            delivery = consumer.take(IDLE_SECONDS)
        return delivery

    def _rest(self) -> None:
        uploading = self._outbox.uploading
        self._presence.say("uploading" if uploading else "idle", uploading)

    def _handle(self, delivery: Delivery, begun: float) -> None:
        """One round job, from its bytes to what there is to tell of it."""
        try:
            job = decode(delivery.body, RoundJob)
            if job.source != self._source:
                raise MessageUnreadable(f"a round job of {job.source} in a queue of {self._source}")
            spec = self._persist(None, self._specs.of, job.job)
        except (MessageUnreadable, ObjectMissing, ObjectDamaged) as error:
            log.warning("dead letter: %s", error)
            delivery.dead_letter()
            return
        except HandBack:
            delivery.requeue()
            return
        self._settle(delivery, job, spec, begun)

    def _settle(self, delivery: Delivery, job: RoundJob, spec: JobSpec, begun: float) -> None:
        try:
            completion, update = self._complete(job, spec, again=job.again or delivery.deliveries_before > 0)
        except HandBack as why:
            if self._bench.stop.is_set():
                delivery.requeue()
                return
            log.info("dropped: %s", why, extra=fields_of(job))
            delivery.ack()
        else:
            self._outbox.took(self._clock() - begun)  # before: what took long leaves beside the next one
            leaving = Leaving(delivery, job, spec, completion, update, self._small_bytes(job))
            self._outbox.put(leaving, self._rest)

    def _complete(self, job: RoundJob, spec: JobSpec, *, again: bool) -> Told:
        """Do the work, unless it is done. Raises HandBack: it is no longer wanted, or the trainer stops."""
        dropped = self._persist(None, self._standing.dropped, job, spec)
        if dropped is not None:
            raise HandBack(dropped)
        self._standing.begin(spec)
        if again and job.kind in ("init", "train"):
            stored = self._persist(job, self._stored, job)
            if stored is not None:
                return stored, None
        try:
            work = self._persist(job, self._work, job, spec)
        except (TaskNotInstalled, ObjectMissing, ObjectDamaged) as error:
            failed = self._failed(job, "-".join(("prepare", self._attempt())), type(error).__name__, str(error))
            return failed, None
        return self._told(job, work, self._run(job, work))

    def _run(self, job: RoundJob, work: Work) -> Outcome:
        state = "training" if job.kind in ("init", "train") else "evaluating"
        if self._presence.due:
            self._presence.say(state, job)  # short jobs are not told one by one, but the trainer must not be forgotten
        for _ in range(1 + CRASHES_FORGIVEN):
            outcome = self._bench.training.run(work, partial(self._keep_going, job, state))
            if not isinstance(outcome, Crashed):
                break
            log.warning("training process: %s", outcome.reason, extra=fields_of(job))
        return outcome

    def _told(self, job: RoundJob, work: Work, outcome: Outcome) -> Told:
        """What to tell of this outcome, and the update to store before."""
        match outcome:
            case Trained(size=size, digest=digest):
                told = self._completion(job, work.attempt, outcome="updated", digest=digest, size=size)
                return told, outcome
            case Evaluated():
                return self._completion(job, work.attempt, outcome="evaluated", **asdict(outcome)), None
            case TaskFailed():
                log.error("task failed: %s\n%s", outcome.failure, outcome.trace, extra=fields_of(job))
                left = outcome.failure if self._share_errors else outcome.failure.model_copy(update={"text": ""})
                return self._completion(job, work.attempt, outcome="failed", failure=left), None
            case Crashed():
                return self._failed(job, work.attempt, "TrainingProcessDied", outcome.reason), None
            case Stopped():
                raise HandBack("no longer wanted, stopped at a batch")

    def _stored(self, job: RoundJob) -> Completion | None:
        """The completion of an update that is in the store already: it may never have been told."""
        found = self._stored_before.find(job)
        if found is None:
            return None
        name, size = found
        return self._completion(job, name.attempt, outcome="updated", size=size, parcel=name.parcel or None)

    def _work(self, job: RoundJob, spec: JobSpec) -> Work:
        return Work(
            kind=job.kind,
            spec=spec,
            job_round=job.round,
            client=job.client,
            index=job.index,
            count=job.count,
            site=job.site,
            attempt=self._attempt(),
            task_path=self._code.path(spec),
            base_path=self._checkpoints.path(job),
            output_path=next(path for path in self._outputs if path != self._outbox.path),
            held_out=job.kind == "test",
            share=job.share,
            state_path=self._states.path(job, spec),
            server_path=self._states.server(job),
            inline=self._small_bytes(job),
        )

    def _small_bytes(self, job: RoundJob) -> int:
        """The most that an update of this client may have to leave together with others; 0: it is alone."""
        if not job.parcels:
            return 0
        if self._near is None:
            self._near = self._bench.store.local_path(keys.spec(job.job)) is not None
        return MEMBER_BYTES_MAX_NEAR if self._near else MEMBER_BYTES_MAX

    def _failed(self, job: RoundJob, attempt: str, error: str, text: str) -> Completion:
        log.error("%s: %s", error, text, extra=fields_of(job))
        return self._completion(job, attempt, outcome="failed", failure=Failure(error=error, text=text[:4000]))

    def _completion(self, job: RoundJob, attempt: str, **fields: object) -> Completion:
        said = {"job": job.job, "round": job.round, "kind": job.kind, "client": job.client, "attempt": attempt}
        return Completion.model_validate({**said, "trainer": self._name, **fields})

    def _keep_going(self, job: RoundJob, state: str) -> bool:
        self._presence.say(state, job)
        self._outbox.tell_late()
        return not self._bench.stop.is_set() and self._standing.wanted(job)

    def _consume(self) -> Consumer:
        queues = [rounds_queue(self._source), evaluations_queue(self._source)]
        declare_missing(self._bench.broker, queues)
        return self._bench.broker.consume(queues)


def _random_ids() -> Iterator[str]:
    """Of attempts, 64 bits each, drawn by the hundred: for each draw other threads wait, or make this one wait."""
    while True:
        drawn = secrets.token_hex(8 * IDS_DRAWN)
        yield from (drawn[at : at + 16] for at in range(0, len(drawn), 16))
