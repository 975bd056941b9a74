"""Takes round jobs, has them trained, stores the update, tells the completion, and only then acknowledges."""

from __future__ import annotations

import contextlib
import logging
import random
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TypeVar

from .. import __version__
from ..broker.declaring import declare_missing
from ..broker.errors import BrokerError, BrokerRefused, BrokerUnavailable, MessageUnreadable
from ..broker.messages import Completion, Failure, RoundJob, decode
from ..broker.ports import Broker, Consumer, Delivery
from ..broker.topology import evaluations_queue, rounds_queue
from ..storage import keys
from ..storage.errors import ObjectDamaged, ObjectMissing, StorageRefused, StorageUnavailable
from ..storage.job import JobSpec
from ..storage.objects import ObjectStore
from ..storage.ports import Ledger
from .bundle import Bundle, Pace
from .checkpoints import Checkpoints
from .code import TaskCode, TaskNotInstalled
from .ports import Bench, News, Stop, Training
from .presence import Announcing
from .specs import Specs
from .standing import Standing
from .states import States
from .wire import Crashed, Evaluated, Outcome, Stopped, TaskFailed, Trained, Work

IDLE_SECONDS = 1.0  # of one wait for a round job, on the broker: how late a stop may be noticed
PAUSE_SECONDS = 0.2  # between two round jobs; who waits longer is idle
UPLOAD_BYTES_TOLD = 8 << 20  # smaller ones are over before anybody reads of them
RETRY_SECONDS_FIRST = 0.2
RETRY_SECONDS_MAX = 5.0
CRASHES_FORGIVEN = 1  # of the training process, for one round job; the next one fails the client

log = logging.getLogger("warren.trainer")

T = TypeVar("T")


class HandBack(Exception):
    """The work ends here without a result: the trainer stops, or nobody wants the work any more."""


class Worker:
    """One trainer: one round job at a time, in a training process of its own."""

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
        attempt: Callable[[], str] = lambda: secrets.token_hex(8),
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
            attempt: makes the id of an attempt.
        """
        self._adapters = (store, broker, news, ledger, training)
        self._name = name
        self._source = source
        self._share_errors = share_errors
        self._clock = clock
        self._attempt = attempt
        self._facts = {"host": socket.gethostname(), "source": source, "device": device, "version": __version__}
        self._code = TaskCode(store, tasks_dir, accept_code=accept_code, cache=cache / "tasks", name=name)
        self._checkpoints = Checkpoints(store, cache / "checkpoints")
        self._states = States(store, cache, personal or cache / "personal")
        self._output = cache / "update.safetensors"
        self._specs = Specs(store)
        self._pace = Pace()

    def run(self, stop: Stop) -> None:
        """Work until told to stop; work in hand then goes back to its queue."""
        self._bench = Bench(*self._adapters, stop, self._name, self._source, self._clock)
        self._standing = Standing(self._bench)
        self._presence = Announcing(self._bench.ledger, self._name, self._facts, self._clock)
        self._bundle = Bundle(self._bench.news, self._source)
        consumer: Consumer | None = None
        while not stop.is_set():
            try:
                consumer = consumer or self._consume()
                delivery = self._next(consumer)
                if delivery is not None:
                    self._serve(consumer, delivery)
            except BrokerError as error:
                log.warning("no round jobs: %s", error)
                self._tell()
                stop.wait(RETRY_SECONDS_MAX)
        self._bundle.hand_back()
        if consumer is not None:
            consumer.close()

    def _serve(self, consumer: Consumer, first: Delivery) -> None:
        """A round job, and those that are here already while all are short; then tell of all of them at once."""
        delivery: Delivery | None = first
        while delivery is not None:
            if delivery.deliveries_before:  # it may be what ended a trainer: nothing else depends on it
                self._pace.forget()
                self._tell()
            begun = self._clock()
            self._handle(delivery)
            self._pace.took(self._clock() - begun)
            ahead = self._pace.ahead
            more = len(self._bundle) < ahead and not self._bench.stop.is_set()
            delivery = consumer.take(0.0) if more and ahead > 1 else None
        self._tell()
        consumer.allow(self._pace.ahead)

    def _tell(self) -> None:
        """Tell what is done, however long Redis takes."""
        with contextlib.suppress(HandBack):  # the trainer stops: `run` hands back what is not told
            self._persist(None, self._bundle.send)

    def _next(self, consumer: Consumer) -> Delivery | None:
        """The next round job. Idleness is said once it lasts: between short jobs it would cost as much as they do."""
        delivery = consumer.take(PAUSE_SECONDS) if self._presence.anything else None
        if delivery is None:
            self._presence.say("idle")
            delivery = consumer.take(IDLE_SECONDS)
        return delivery

    def _handle(self, delivery: Delivery) -> None:
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
        self._settle(delivery, job, spec)

    def _settle(self, delivery: Delivery, job: RoundJob, spec: JobSpec) -> None:
        try:
            completion = self._complete(job, spec, again=job.again or delivery.deliveries_before > 0)
        except HandBack as why:
            if self._bench.stop.is_set():
                delivery.requeue()
                return
            log.info("dropped: %s", why, extra=_fields(job))
            delivery.ack()
        else:
            self._bundle.add(delivery, completion)

    def _complete(self, job: RoundJob, spec: JobSpec, *, again: bool) -> Completion:
        """Do the work, unless it is done. Raises HandBack: it is no longer wanted, or the trainer stops."""
        dropped = self._persist(None, self._standing.dropped, job, spec)
        if dropped is not None:
            raise HandBack(dropped)
        self._standing.begin()
        if again and job.kind in ("init", "train"):
            stored = self._persist(job, self._stored, job)
            if stored is not None:
                return stored
        try:
            work = self._persist(job, self._work, job, spec)
        except (TaskNotInstalled, ObjectMissing, ObjectDamaged) as error:
            return self._failed(job, "-".join(("prepare", self._attempt())), type(error).__name__, str(error))
        return self._told(job, work, self._run(job, work))

    def _run(self, job: RoundJob, work: Work) -> Outcome:
        state = "training" if job.kind in ("init", "train") else "evaluating"
        if self._presence.due:
            self._presence.say(state, job)  # short jobs are not told one by one, but the trainer must not be forgotten
        for _ in range(1 + CRASHES_FORGIVEN):
            outcome = self._bench.training.run(work, partial(self._keep_going, job, state))
            if not isinstance(outcome, Crashed):
                break
            log.warning("training process: %s", outcome.reason, extra=_fields(job))
        return outcome

    def _told(self, job: RoundJob, work: Work, outcome: Outcome) -> Completion:
        """What to tell of this outcome; an update is stored first."""
        match outcome:
            case Trained():
                if outcome.state is not None:  # first: an update that counts implies it
                    self._persist(job, self._states.keep, job, work.spec, work.attempt, outcome.state[0])
                if outcome.size >= UPLOAD_BYTES_TOLD:
                    self._presence.say("uploading", job)
                key = keys.update(job.job, job.round, self._source, job.client, work.attempt)
                self._persist(job, partial(self._bench.store.create, given=True), key, outcome.path)
                log.info("update stored: %d examples, %d bytes", outcome.examples, outcome.size, extra=_fields(job))
                return self._completion(job, work.attempt, outcome="updated", digest=outcome.digest, size=outcome.size)
            case Evaluated():
                return self._completion(job, work.attempt, outcome="evaluated", **asdict(outcome))
            case TaskFailed():
                log.error("task failed: %s\n%s", outcome.failure, outcome.trace, extra=_fields(job))
                left = outcome.failure if self._share_errors else outcome.failure.model_copy(update={"text": ""})
                return self._completion(job, work.attempt, outcome="failed", failure=left)
            case Crashed():
                return self._failed(job, work.attempt, "TrainingProcessDied", outcome.reason)
            case Stopped():
                raise HandBack("no longer wanted, stopped at a batch")

    def _stored(self, job: RoundJob) -> Completion | None:
        """The completion of an update that is in the store already: it may never have been told."""
        for info in self._bench.store.list(keys.updates(job.job, job.round, self._source, job.client)):
            name = keys.read_update(info.key)
            if name is not None and name.attempt not in job.set_aside:
                return self._completion(job, name.attempt, outcome="updated", size=info.size)
        return None

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
            output_path=self._output,
            held_out=job.kind == "test",
            share=job.share,
            state_path=self._states.path(job, spec),
            server_path=self._states.server(job),
        )

    def _failed(self, job: RoundJob, attempt: str, error: str, text: str) -> Completion:
        log.error("%s: %s", error, text, extra=_fields(job))
        return self._completion(job, attempt, outcome="failed", failure=Failure(error=error, text=text[:4000]))

    def _completion(self, job: RoundJob, attempt: str, **fields: object) -> Completion:
        said = {"job": job.job, "round": job.round, "kind": job.kind, "client": job.client, "attempt": attempt}
        return Completion.model_validate({**said, "trainer": self._name, **fields})

    def _keep_going(self, job: RoundJob, state: str) -> bool:
        self._presence.say(state, job)
        if len(self._bundle):
            with contextlib.suppress(BrokerError):  # a job that was taken for short and is not
                self._bundle.send()
        return not self._bench.stop.is_set() and self._standing.wanted(job)

    def _persist(self, job: RoundJob | None, call: Callable[..., T], *args: object) -> T:
        """Call until the servers answer. Raises HandBack when the trainer stops, or the work is not wanted any more."""
        wait = RETRY_SECONDS_FIRST
        while True:
            try:
                return call(*args)
            except (StorageUnavailable, StorageRefused, BrokerUnavailable, BrokerRefused) as error:
                log.warning("waits, and tries again: %s", error, extra=_fields(job) if job else {})
                if self._bench.stop.wait(wait * random.uniform(0.5, 1.0)):
                    raise HandBack("stopping") from None
                if job is not None and not self._standing.wanted(job):
                    raise HandBack("no longer wanted") from None
                wait = min(RETRY_SECONDS_MAX, 2 * wait)

    def _consume(self) -> Consumer:
        queues = [rounds_queue(self._source), evaluations_queue(self._source)]
        declare_missing(self._bench.broker, queues)
        return self._bench.broker.consume(queues)


def _fields(job: RoundJob) -> dict[str, object]:
    return {"job": job.job, "round": job.round, "client": job.client}
