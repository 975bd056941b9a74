"""What a trainer has done and leaves it: stored, then told, then acknowledged, beside the next client's training.

One is on its way at a time, and while it is one more round job may be taken: so a trainer holds two at most (of short
works nine, see following.py), and a crash gives them back. Where storing takes no time to speak of (embedded, and short
works), a second thread would cost more than it saves: then the worker's own does it, and tells several at once.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..broker.errors import BrokerError
from ..broker.messages import Completion, RoundJob
from ..broker.ports import Delivery
from ..storage import keys
from ..storage.errors import StorageError
from ..storage.growing import Growing, TakesGrowing
from ..storage.job import JobSpec
from .bundle import BUNDLE_MAX, Bundle, Pace
from .early import Early
from .patience import HandBack, Patience, fields_of
from .ports import Bench, Beside
from .standing import Standing
from .states import States
from .wire import Outcome, Trained

BESIDE = 2  # round jobs in hand: one on its way out, one in the work
LOOK_SECONDS = 0.5  # while waiting for room: how often the trainer's presence is thought of
UPLOAD_BYTES_TOLD = 8 << 20  # smaller ones are over before anybody reads of them

log = logging.getLogger("warren.trainer")


@dataclass(frozen=True, slots=True)
class Leaving:
    """A round job that is done: what to tell of it, and its update, which is stored before."""

    delivery: Delivery
    job: RoundJob
    spec: JobSpec
    completion: Completion
    update: Trained | None = None
    small_bytes: int = 0  # the most that an update may have which leaves together with others; 0: none may

    @property
    def small(self) -> bool:
        """Whether its update, if it has one, may leave together with those of other clients."""
        update = self.update
        return self.small_bytes > 0 and (update is None or (update.state is None and update.size <= self.small_bytes))


class Outbox:
    """One worker's. Its verbs are for the worker's own thread."""

    def __init__(self, bench: Bench, states: States, beside: Beside, pace: Pace) -> None:
        self._bench = bench
        self._states = states
        self._beside = beside
        self._standing = Standing(bench)
        self._persist = Patience(bench.stop, self._standing)
        self._bundle = Bundle(bench.store, bench.news, bench.source)
        self._pace = pace
        self._small = False  # whether the last one was
        self._uploading: RoundJob | None = None  # what is on its way, where that takes a while
        self._path: Path | None = None  # of its update
        self._seconds = 0.0  # that the last one took to leave
        self._early: Early | None = None  # what began to leave, while its work goes on

    @property
    def uploading(self) -> RoundJob | None:
        """Whose update is on its way, where it is a large one."""
        return None if self._beside.ended(0) else self._uploading

    @property
    def path(self) -> Path | None:
        """The file that is on its way: not to be written to."""
        return None if self._beside.ended(0) else self._path

    @property
    def several(self) -> bool:
        """Whether round jobs are so short that several wait to be told together."""
        return self._together > 1

    @property
    def ahead(self) -> int:
        """How many round jobs this trainer may have in hand: what waits, and what follows while that is told."""
        return max(BESIDE, self._together + 1)

    @property
    def waits(self) -> bool:
        """Whether something that is done waits to be told together with what comes after it."""
        return self._beside.ended(0) and len(self._bundle) > 0

    @property
    def full(self) -> bool:
        """Whether what waits has to be told before the next one is taken."""
        return len(self._bundle) >= self._together

    @property
    def _together(self) -> int:
        """How many may wait to be told together."""
        return BUNDLE_MAX if self._small and self._pace.short else self._pace.ahead

    def took(self, seconds: float) -> None:
        """So long did a round job take, until there was something to tell; say it before that is `put`."""
        self._pace.took(seconds)

    def early(self, job: RoundJob, spec: JobSpec, attempt: str, path: Path) -> Callable[[int, int], None] | None:
        """What a work is given to tell how far its update is written; None: no store to send it to meanwhile."""
        store = self._bench.store
        if job.kind not in ("init", "train") or not isinstance(store, TakesGrowing):
            return None
        key = keys.update(job.job, job.round, self._bench.source, job.client, attempt)

        def wrote(size: int, done: int) -> None:
            if done:
                if self._early is not None:
                    self._early.file.grown(done)
                return
            if not self._beside.ended(0) or len(self._bundle) > 0:  # what was before it leaves first
                return
            self._early = Early(job, spec, key, Growing(path, size))
            self._path, self._uploading = path, job
            self._beside.start(partial(self._send_early, self._early, store))

        return wrote

    def watched(self, run: Callable[[], Outcome]) -> Outcome:
        """The outcome of a work, whose update may begin to leave meanwhile; what then comes of it must be `put`."""
        outcome: Outcome | None = None
        try:
            outcome = run()
            return outcome
        finally:
            if self._early is not None and not self._early.ended(outcome):
                self._early = None

    def put(self, leaving: Leaving, meanwhile: Callable[[], None]) -> None:
        """Send it off; waits until the one before it is gone, and does `meanwhile` now and then."""
        early, self._early = self._early, None
        if early is not None and early.hand(leaving):
            self._small = False
            return
        while not self._beside.ended(LOOK_SECONDS):
            meanwhile()
        self._small = leaving.small
        if self._small and self._pace.short:
            self._hold(leaving)
            return
        self._pace.left(self._seconds)
        large = leaving.update is not None and leaving.update.size >= UPLOAD_BYTES_TOLD
        self._uploading = leaving.job if large else None
        self._path = None if leaving.update is None or leaving.update.body is not None else leaving.update.path
        if self._pace.ahead > 1:
            self._send_off(leaving, together=True)
        else:
            self._beside.start(partial(self._send_off, leaving, together=False))

    def alone(self) -> None:
        """Return when nothing is in hand any more; the next is not taken for a short one."""
        self._pace.forget()
        self._beside.ended(None)
        self.tell()

    def tell(self) -> None:
        """Store and tell what waits, however long the servers take."""
        self._beside.ended(None)
        with contextlib.suppress(HandBack):  # the trainer stops: `close` hands back what is not told
            self._persist(None, self._bundle.send)

    def tell_late(self) -> None:
        """Tell what waits, if that can be done now: the one after it was taken for short and is not."""
        if self.waits:
            with contextlib.suppress(BrokerError, StorageError):
                self._bundle.send()

    def close(self) -> None:
        """Wait for what is on its way; hand back what was not told."""
        self._beside.ended(None)
        self._bundle.hand_back()

    def _hold(self, leaving: Leaving) -> None:
        """Keep it in memory: it is stored together with what comes after it."""
        update, body = leaving.update, None
        if update is not None and update.body is None:
            body = update.path.read_bytes()
        elif update is not None:
            body = update.body
        self._uploading = self._path = None
        self._bundle.add(leaving.delivery, leaving.completion, body)

    def _send_early(self, early: Early, store: TakesGrowing) -> None:
        """Store it as it grows. What did not come to an end here is stored as any other, once its work is done."""
        begun = self._bench.clock()
        self._standing.begin(early.spec)
        stored = False
        with contextlib.suppress(HandBack, StorageError):
            self._persist(early.job, store.create_growing, early.key, early.file)
            stored = True
        leaving = early.rest()
        if leaving is not None:
            self._send_off(leaving, together=False, stored=stored)
            self._seconds = self._bench.clock() - begun

    def _send_off(self, leaving: Leaving, *, together: bool, stored: bool = False) -> None:
        begun = self._bench.clock()
        try:
            if leaving.update is not None and stored:
                self._stored(leaving, leaving.update)
            elif leaving.update is not None:
                self._store(leaving, leaving.update)
        except HandBack as why:
            self._give_up(leaving, why)
            return
        self._bundle.add(leaving.delivery, leaving.completion)
        if not together:
            with contextlib.suppress(HandBack):  # the trainer stops: `close` hands it back
                self._persist(None, self._bundle.send)
        self._seconds = self._bench.clock() - begun

    def _store(self, leaving: Leaving, update: Trained) -> None:
        job, attempt = leaving.job, leaving.completion.attempt
        self._standing.begin(leaving.spec)
        if update.state is not None:  # first: an update that counts implies it
            self._persist(job, self._states.keep, job, leaving.spec, attempt, update.state[0])
            update.state[0].unlink(missing_ok=True)
        key = keys.update(job.job, job.round, self._bench.source, job.client, attempt)
        if update.body is not None:
            self._persist(job, self._bench.store.create, key, update.body)
        else:
            self._persist(job, partial(self._bench.store.create, given=True), key, update.path)
        self._stored(leaving, update)

    def _stored(self, leaving: Leaving, update: Trained) -> None:
        if update.body is None:
            _free(update.path)
        log.info("update stored: %d examples, %d bytes", update.examples, update.size, extra=fields_of(leaving.job))

    def _give_up(self, leaving: Leaving, why: HandBack) -> None:
        if self._bench.stop.is_set():
            leaving.delivery.requeue()
        else:
            log.info("dropped: %s", why, extra=fields_of(leaving.job))
            leaving.delivery.ack()


def _free(path: Path) -> None:
    """Let the next update be written over the pages of this one, unless the store keeps the file itself."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_nlink > 1:
            path.unlink()
