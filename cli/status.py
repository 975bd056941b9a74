"""What is known of a job, put together from the store's documents and the ledger's news."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from ..aggregator.record import Record
from ..storage import keys
from ..storage.documents import Evaluation, Manifest, read_document
from ..storage.errors import StorageUnavailable
from ..storage.job import JobSpec
from ..storage.objects import ObjectStore
from ..storage.ports import Ledger, Presence
from .room_watch import RoomWatch

State = Literal["running", "waiting", "unfinished", "paused", "cancelled", "failed", "done"]
ENDED: tuple[State, ...] = ("cancelled", "failed", "done")
PACE_ROUNDS = 5  # the last rounds, from which the time left is reckoned
_BY_CONTROL: Mapping[str, State] = {
    "pause": "paused",
    "cancel": "cancelled",
    "fail": "failed",
    "done": "done",
}


@dataclass(frozen=True, slots=True)
class RoundResult:
    """One frozen round, and its evaluation once that is there."""

    manifest: Manifest
    evaluation: Evaluation | None = None

    @property
    def number(self) -> int:
        return self.manifest.round

    @property
    def update_bytes(self) -> int:
        """The bytes of the updates that count."""
        return sum(entry.size for entry in self.manifest.entries)

    def metric(self, name: str) -> float | None:
        """A metric of the checkpoint: on held-out data, else validation, else as the clients trained."""
        places: list[Mapping[str, float]] = [self.manifest.metrics]
        if self.evaluation is not None:
            places = [self.evaluation.held_out, self.evaluation.validation, *places]
        return next((place[name] for place in places if name in place), None)


class Series(NamedTuple):
    """A metric over the rounds, and on what it was measured."""

    place: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Now:
    """The round in progress, as the leader last told it; seconds on the ledger's clock."""

    round: int = 0
    phase: str = ""
    asked: int = 0
    wanted: int = 0
    quorum: int = 0
    valid: int = 0
    rejected: int = 0
    failed: int = 0
    extension: int = 0
    deadline_left: float | None = None
    since_start: float | None = None
    clients: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One look at a job."""

    job: str
    spec: JobSpec
    state: State
    reason: str
    now: Now
    results: tuple[RoundResult, ...] = ()  # in order, without round 0
    trainers: tuple[Presence, ...] = ()  # of the job's sources
    aggregators: tuple[Presence, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def rounds_done(self) -> int:
        return self.results[-1].number if self.results else 0

    @property
    def seconds_left(self) -> float | None:
        """A guess from the last rounds; None before there is one. The first round pays for starting up."""
        last = [result.manifest.seconds for result in self.results[1:] or self.results][-PACE_ROUNDS:]
        if not last or self.ended:
            return None
        return statistics.median(last) * (self.spec.rounds - self.rounds_done)

    def series(self, name: str) -> Series:
        """A metric round by round, all of it measured in the same place: the best one that has it."""
        evaluations = [result.evaluation for result in self.results if result.evaluation]
        places = (
            ("on held-out data", [one.held_out for one in evaluations]),
            ("on validation shares", [one.validation for one in evaluations]),
            ("in training", [result.manifest.metrics for result in self.results]),
        )
        for place, metrics in places:
            values = tuple(one[name] for one in metrics if name in one)
            if values:
                return Series(place, values)
        return Series("", ())

    @property
    def last_evaluation(self) -> Evaluation | None:
        return next((result.evaluation for result in reversed(self.results) if result.evaluation), None)


class StatusReader:
    """Looks at one job again and again; reads each document once."""

    def __init__(
        self,
        store: ObjectStore,
        job: str,
        ledger: Ledger | None = None,
        *,
        services: bool = True,
        room: bool = False,
    ) -> None:
        """Read the job's spec.

        Args:
            store: where the job is.
            job: its id.
            ledger: for the news of it; None where there is none.
            services: whether aggregator and trainers are elsewhere, and may be missing.
            room: whether to warn of a store that gets full.

        Raises:
            ObjectMissing, ObjectDamaged: no such job, or none that can be read.
        """
        self._services = services
        self._store = store
        self._ledger = ledger
        self._record = Record(store, job)
        self._manifests: dict[str, Manifest] = {}
        self._evaluations: dict[str, Evaluation] = {}
        self.job = job
        self.spec = self._record.spec()
        self._room = RoomWatch(store, self.spec) if room else None

    def read(self) -> JobStatus:
        """The job as it is now.

        Raises:
            StorageError: the store does not answer. A ledger that does not is a warning in the status.
        """
        control = self._record.control()
        self._collect(keys.manifests(self.job), self._manifests, Manifest)
        self._collect(keys.evaluations(self.job), self._evaluations, Evaluation)
        progress, trainers, aggregators, warnings = self._news()
        state = _BY_CONTROL.get(control.command) or self._going(progress)
        if state not in ENDED and self._ledger is not None and self._services and not warnings:
            warnings = missing_services(self.spec, trainers, aggregators)
        warnings += _trackers(progress)
        results = self._results()
        if self._room is not None and state not in ENDED:
            warnings += self._room.warnings(results[-1].manifest if results else None)
        return JobStatus(
            job=self.job,
            spec=self.spec,
            state=state,
            reason=control.reason if state in _BY_CONTROL.values() else progress.get("reason", ""),
            now=read_progress(progress, _float(progress.get("_now", ""))),
            results=results,
            trainers=trainers,
            aggregators=aggregators,
            warnings=warnings,
        )

    def _going(self, progress: Mapping[str, str]) -> State:
        """The state of a job that may go on: without a ledger nobody knows whether it does."""
        if self._ledger is None:
            return "unfinished"
        led = progress.get("state", "" if self._services else "running")  # an embedded run leads from its start
        return "running" if led == "running" else "waiting"

    def _collect(self, prefix: str, known: dict[str, Manifest] | dict[str, Evaluation], kind: type) -> None:
        for info in self._store.list(prefix):
            if info.key not in known:
                known[info.key] = read_document(kind, self._store.read(info.key), info.key)

    def _results(self) -> tuple[RoundResult, ...]:
        evaluations = {evaluation.round: evaluation for evaluation in self._evaluations.values()}
        manifests = sorted(self._manifests.values(), key=lambda manifest: manifest.round)
        return tuple(RoundResult(one, evaluations.get(one.round)) for one in manifests if one.round > 0)

    def _news(
        self,
    ) -> tuple[Mapping[str, str], tuple[Presence, ...], tuple[Presence, ...], tuple[str, ...]]:
        if self._ledger is None:
            return {}, (), (), ()
        try:
            progress = {**self._ledger.progress(self.job), "_now": str(self._ledger.now())}
            trainers = [
                one for one in self._ledger.presences("trainer") if one.fields.get("source") in self.spec.sources
            ]
            return progress, tuple(trainers), tuple(self._ledger.presences("aggregator")), ()
        except StorageUnavailable as error:
            return {}, (), (), (f"no news: {error}",)


def _trackers(progress: Mapping[str, str]) -> tuple[str, ...]:
    """What trackers have to say for themselves; the job goes on without them."""
    said = {name.removeprefix("tracker."): words for name, words in progress.items() if name.startswith("tracker.")}
    return tuple(f"tracker {name} {words[:300]}" for name, words in sorted(said.items()) if words)


def read_progress(fields: Mapping[str, str], now: float | None) -> Now:
    """The leader's progress fields; what can't be read counts as not known."""
    deadline, started = _float(fields.get("deadline", "")), _float(fields.get("started", ""))
    return Now(
        **{name: _int(fields.get(name, "")) for name in _COUNTS},
        phase=fields.get("phase", "")[:40],
        deadline_left=max(0.0, deadline - now) if deadline is not None and now is not None else None,
        since_start=max(0.0, now - started) if started is not None and now is not None else None,
        clients=_clients(fields.get("clients", "")),
    )


_COUNTS = ("round", "asked", "wanted", "quorum", "valid", "rejected", "failed", "extension")


def _clients(text: str) -> dict[str, str]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return {str(name): str(state) for name, state in found.items()} if isinstance(found, dict) else {}


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _int(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def missing_services(spec: JobSpec, trainers: Sequence[Presence], aggregators: Sequence[Presence]) -> tuple[str, ...]:
    """Who is not there, without whom nothing goes on, and how to start them."""
    found = []
    if not aggregators:
        found.append("no aggregator is there: start one with `warren aggregator start`")
    there = {one.fields.get("source") for one in trainers}
    if not spec.sites and not there:
        pool = "" if spec.pool == "default" else f" --pool {spec.pool}"
        found.append(f"no trainer takes from pool {spec.pool}: start one with `warren trainer start{pool}`")
    away = [site for site in sorted(spec.sites) if f"site.{site}" not in there]
    if away:
        named = ", ".join(away[:5]) + (f" and {len(away) - 5} more" if len(away) > 5 else "")
        found.append(f"no trainer at {named}: start one there with `warren trainer start --site {away[0]}`")
    if spec.needs == "gpu" and trainers and not any("cuda" in one.fields.get("device", "") for one in trainers):
        found.append('the job needs = "gpu", and no trainer there has one')
    return tuple(found)
