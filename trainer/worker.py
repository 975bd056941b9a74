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
from ..broker.errors import BrokerError
from ..broker.messages import Completion, RoundJob
from ..broker.ports import Broker, Consumer, Delivery
from ..broker.topology import evaluations_queue, rounds_queue
from ..storage.objects import ObjectStore
from ..storage.ports import Ledger
from .beside import OneThread
from .bundle import Pace
from .checkpoints import Checkpoints
from .code import TaskCode
from .following import Following
from .outbox import BESIDE, Leaving, Outbox
from .patience import RETRY_SECONDS_MAX, HandBack, fields_of
from .ports import Bench, Beside, News, Stop, Training
from .preparing import Preparing, Ready, give_up
from .presence import Announcing
from .standing import Standing
from .states import States
from .wire import Crashed, Evaluated, Outcome, Stopped, TaskFailed, Trained, Work

IDLE_SECONDS = 1.0  # of one wait for a round job, on the broker: how late a stop may be noticed
FOLLOWS_SECONDS = 0.25  # that a round job waits behind one that was taken for short; then others may have it
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
        outputs = (cache / f"update-{number}.safetensors" for number in range(BESIDE + 1))
        self._outputs = tuple(outputs)  # one is on its way, one in the work, one follows
        self._beside = beside or OneThread(name)
        self._pace = pace or Pace()
        self._turn = 0.0  # when the last work was done, or this one was first in hand

    def run(self, stop: Stop) -> None:
        """Work until told to stop; work in hand then goes back to its queue."""
        self._bench = Bench(*self._adapters, stop, self._name, self._source, self._clock)
        self._standing = Standing(self._bench)
        self._presence = Announcing(self._bench.ledger, self._name, self._facts, self._clock)
        self._outbox = Outbox(self._bench, self._states, self._beside, self._pace)
        early = self._outbox.early
        self._preparing = Preparing(self._bench, self._code, self._checkpoints, self._states, self._attempt, early)
        self._following = Following(self._bench, self._preparing, self._outbox)
        consumer: Consumer | None = None
        while not stop.is_set():
            try:
                consumer = consumer or self._consume()
                self._serve_next(consumer)
            except BrokerError as error:
                log.warning("no round jobs: %s", error)
                self._outbox.tell()
                stop.wait(RETRY_SECONDS_MAX)
        self._following.hand_back()
        self._outbox.close()
        self._beside.close()
        for path in self._outputs:
            path.unlink(missing_ok=True)
        if consumer is not None:
            consumer.close()

    def _serve_next(self, consumer: Consumer) -> None:
        ready = self._following.take()
        if ready is not None:
            if self._outbox.waits and self._outbox.full:
                self._outbox.tell()
            self._finish(ready, consumer)
        else:
            delivery = self._following.delivery() or self._next(consumer)
            if delivery is None:
                return
            self._serve(delivery, consumer)
        consumer.allow(self._outbox.ahead)

    def _serve(self, delivery: Delivery, consumer: Consumer) -> None:
        """One round job, beside the one before it."""
        suspect = delivery.deliveries_before > 0  # it may be what ended a trainer: nothing else depends on it
        if suspect:
            self._outbox.alone()
        ready = self._preparing.ready(delivery, self._output())
        if ready is not None:
            self._finish(ready, consumer)
        if suspect:
            self._outbox.alone()

    def _output(self, *taken: Path) -> Path:
        """A file that nothing is written to or sent from."""
        return next(path for path in self._outputs if path not in (*taken, self._outbox.path))

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

    def _finish(self, ready: Ready, consumer: Consumer) -> None:
        """From a round job that is ready to what leaves of it."""
        job, todo = ready.job, ready.todo
        self._turn = max(self._turn, ready.begun)
        try:
            if isinstance(todo, Completion):
                told, update = todo, None
            else:
                told, update = self._told(job, todo, self._run(ready, todo, consumer))
        except HandBack as why:
            give_up(self._bench, ready.delivery, job, why)
            return
        now = self._clock()
        self._outbox.took(now - self._turn)  # before: what took long leaves beside the next one
        self._turn = now
        small = self._preparing.small_bytes(job)
        self._outbox.put(Leaving(ready.delivery, job, ready.spec, told, update, small), self._rest)

    def _run(self, ready: Ready, work: Work, consumer: Consumer) -> Outcome:
        job = ready.job
        state = "training" if job.kind in ("init", "train") else "evaluating"
        if self._presence.due:
            self._presence.say(state, job)  # short jobs are not told one by one, but the trainer must not be forgotten
        if self._following.wanted(ready):
            self._bench.training.begin(work)
            self._following.look(ready, consumer, self._output(work.output_path))
        self._standing.begin(ready.spec)
        for _ in range(1 + CRASHES_FORGIVEN):
            run = partial(self._bench.training.run, work, partial(self._keep_going, job, state))
            outcome = self._outbox.watched(run)
            if not isinstance(outcome, Crashed):
                break
            log.warning("training process: %s", outcome.reason, extra=fields_of(job))
        return outcome

    def _told(self, job: RoundJob, work: Work, outcome: Outcome) -> Told:
        """What to tell of this outcome, and the update to store before."""
        match outcome:
            case Trained(size=size, digest=digest):
                told = self._preparing.completion(job, work.attempt, outcome="updated", digest=digest, size=size)
                return told, outcome
            case Evaluated():
                return self._preparing.completion(job, work.attempt, outcome="evaluated", **asdict(outcome)), None
            case TaskFailed():
                log.error("task failed: %s\n%s", outcome.failure, outcome.trace, extra=fields_of(job))
                left = outcome.failure if self._share_errors else outcome.failure.model_copy(update={"text": ""})
                return self._preparing.completion(job, work.attempt, outcome="failed", failure=left), None
            case Crashed():
                return self._preparing.failed(job, work.attempt, "TrainingProcessDied", outcome.reason), None
            case Stopped():
                raise HandBack("no longer wanted, stopped at a batch")

    def _keep_going(self, job: RoundJob, state: str) -> bool:
        self._presence.say(state, job)
        self._outbox.tell_late()
        if self._clock() - self._turn >= FOLLOWS_SECONDS:
            self._following.hand_back()
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
