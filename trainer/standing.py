"""Whether a round job is still wanted: asked before its work, and about every second during it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ..broker.messages import RoundJob
from ..storage import keys
from ..storage.errors import StorageError
from ..storage.job import JobSpec
from .ports import Bench

ASK_SECONDS = 1.0  # between two looks at a job's progress while its work goes on
FRESH_SECONDS = 0.25  # that short jobs of one round do without asking; as long may one be trained for nothing
OVER = ("paused", "cancelled", "failed", "done")


class Standing:
    """Looks at the job's progress in the ledger; where that knows nothing, at the store."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._asked_at = -ASK_SECONDS
        self._answer = True
        self._asynchronous = False  # the job that was asked about last
        self._seen = ("", 0, "")  # job, round and kind that were wanted
        self._seen_at = -FRESH_SECONDS

    def dropped(self, job: RoundJob, spec: JobSpec) -> str | None:
        """Why this round job needs no work any more; None: it does.

        Raises:
            StorageUnavailable: neither can be asked now.
        """
        if self._seen == (job.job, job.round, job.kind) and self._bench.clock() - self._seen_at < FRESH_SECONDS:
            return None
        try:
            progress = self._bench.ledger.progress(job.job)
        except StorageError:
            progress = {}
        self._asynchronous = spec.schedule.asynchronous
        why = outdated(job, progress, asynchronous=self._asynchronous)
        self._remember(job, progress if why is None else {})
        if why is not None or (progress and job.kind in ("init", "train")):
            return why
        if job.kind == "train" and spec.schedule.asynchronous:
            return None  # the manifest of its round is one of many that its update may count in
        done = keys.manifest if job.kind in ("init", "train") else keys.evaluation
        if self._bench.store.stat(done(job.job, job.round)) is not None:
            return f"round {job.round} is closed"
        return None

    def _remember(self, job: RoundJob, progress: Mapping[str, str]) -> None:
        """That a round is open holds for its other clients too. That one is not is asked again: it may be resumed."""
        open_ = progress and not self._asynchronous and job.kind in ("init", "train")
        self._seen = (job.job, job.round, job.kind) if open_ else ("", 0, "")
        self._seen_at = self._bench.clock()

    def wanted(self, job: RoundJob) -> bool:
        """Whether to go on with work that has begun. Cheap: asks the ledger about once a second, else remembers."""
        now = self._bench.clock()
        if now - self._asked_at >= ASK_SECONDS:
            self._asked_at = now
            try:
                self._answer = self._outdated(job) is None
            except StorageError:
                self._answer = True
        return self._answer

    def _outdated(self, job: RoundJob) -> str | None:
        return outdated(job, self._bench.ledger.progress(job.job), asynchronous=self._asynchronous)

    def begin(self, spec: JobSpec) -> None:
        """New work, of this job: what was remembered was another's."""
        self._asked_at = -ASK_SECONDS
        self._asynchronous = spec.schedule.asynchronous


def outdated(job: RoundJob, progress: Mapping[str, str], *, asynchronous: bool = False) -> str | None:
    """Why the job's progress makes this round job superfluous; None where it does not, or says nothing.

    An evaluation is asked for when its round is over, also of a job whose last round is.
    """
    state = progress.get("state", "")
    if state in OVER and not (job.kind in ("evaluate", "test") and state == "paused"):
        return f"the job is {state}"
    if job.kind == "train" and asynchronous:
        return _overtaken(job, progress)
    if job.kind in ("init", "train") and progress.get("round", "").isdigit() and int(progress["round"]) > job.round:
        return f"round {job.round} is closed"
    return None


def _overtaken(job: RoundJob, progress: Mapping[str, str]) -> str | None:
    """The same in an asynchronous job, whose leader tells from which round on each client's work is wanted.

    Under "*" stands that of clients which it does not name. These floors only rise: what was told late, or not at
    all, drops too little and never too much.
    """
    try:
        floors = json.loads(progress["floors"])
        floor = int(floors.get(job.client, floors["*"]))
    except (ValueError, KeyError, AttributeError, TypeError):
        return None
    return f"its client was asked anew, or counted: round {floor} is next" if job.round < floor else None
