"""The adapters of a service, measured for Prometheus as they are used: the rooms know nothing of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from .. import __version__
from ..broker.completions import News
from ..broker.messages import Completion
from ..storage.documents import Manifest
from ..storage.growing import Growing
from ..storage.ledger import RedisLedger
from ..storage.ports import Presence, Pulse
from ..storage.s3 import S3Store
from .connect import Kinds

READY_SECONDS = 45.0  # a busy trainer says every 5 seconds that it is there, an aggregator three times a lease
STANDINGS = ("asked", "valid", "rejected", "failed")
NUMBERS = ("round", "rounds", "quorum")
STATES = ("running", "waiting", "paused", "cancelled", "failed", "done")
SECONDS_BUCKETS = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)


class Meters:
    """All of a service's numbers; implements `health.Shown`. Labels are jobs that go on here, and fixed words."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.registry = CollectorRegistry()
        self.clock = clock
        self._said_at = float("-inf")
        self._make()
        self._gauge("build_info", "Its version.", "version").labels(__version__).set(1)
        self._gauge("ready", "1 while it takes work and Redis answers, as /readyz.").set_function(self.ready)

    def _make(self) -> None:
        self.job = {name: self._gauge(f"job_{name}", f"The job's {name}.", "job") for name in NUMBERS}
        self.job_state = self._gauge("job_state", "1 for the state that the job is in.", "job", "state")
        self.job_clients = self._gauge(
            "job_clients", "Clients of the round, by what became of them.", "job", "standing"
        )
        self.jobs_led = self._gauge("jobs_led", "Jobs that this aggregator leads.")
        self.rounds = self._counter("rounds_committed", "Checkpoints that this aggregator made.", "job")
        self.updates = self._counter("updates", "Clients' answers in frozen rounds.", "outcome")
        self.round_seconds = self._histogram("round_seconds", "From a round's start to its freeze.")
        self.completions = self._counter("completions", "What this trainer told.", "kind", "outcome")
        self.trainer_state = self._gauge("trainer_state", "1 for what this trainer is at.", "state")
        self.bytes = self._counter("store_bytes", "Bytes of objects moved.", "direction")
        self.requests = self._histogram("store_seconds", "Of one object moved.", "direction")

    def ready(self) -> bool:
        """Whether it said lately that it is there: it takes work, and Redis answers."""
        return self.clock() - self._said_at < READY_SECONDS

    def said(self) -> None:
        self._said_at = self.clock()

    def exposition(self) -> tuple[bytes, str]:
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    def progress(self, job: str, fields: Mapping[str, str]) -> None:
        """A job's progress, as it is told to the ledger: some fields of it."""
        for name in NUMBERS:
            if fields.get(name, "").isdigit():
                self.job[name].labels(job).set(int(fields[name]))
        for standing in STANDINGS:
            if fields.get(standing, "").isdigit():
                self.job_clients.labels(job, standing).set(int(fields[standing]))
        if fields.get("state") in STATES:
            for state in STATES:
                self.job_state.labels(job, state).set(state == fields["state"])

    def moved(self, direction: str, size: int, seconds: float) -> None:
        self.bytes.labels(direction).inc(size)
        self.requests.labels(direction).observe(seconds)

    def made(self, key: str, body: bytes | Path) -> None:
        """This service made the object: a manifest or a checkpoint says that a round got on."""
        parts = key.split("/")
        if len(parts) != 4 or parts[0] != "jobs":
            return
        if parts[2] == "checkpoints" and ".optimizer." not in parts[3]:
            self.rounds.labels(parts[1]).inc()
        if parts[2] == "rounds" and isinstance(body, bytes):
            self._frozen(Manifest.model_validate_json(body))

    def _frozen(self, manifest: Manifest) -> None:
        self.round_seconds.observe(manifest.seconds)
        counts = {"valid": manifest.entries, "rejected": manifest.rejected, "failed": manifest.failed}
        for outcome, clients in {**counts, "silent": manifest.silent}.items():
            self.updates.labels(outcome).inc(len(clients))

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(f"warren_{name}", what, labels, registry=self.registry)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"warren_{name}", what, labels, registry=self.registry)

    def _histogram(self, name: str, what: str, *labels: str) -> Histogram:
        return Histogram(f"warren_{name}", what, labels, registry=self.registry, buckets=SECONDS_BUCKETS)


def metered(meters: Meters) -> Kinds:
    """The three adapters, each telling these meters what passes through it."""

    class MeteredStore(S3Store):
        def create(
            self,
            key: str,
            body: bytes | Path,
            *,
            content_type: str = "application/octet-stream",
            metadata: Mapping[str, str] | None = None,
            given: bool = False,
        ) -> bool:
            start, size = meters.clock(), body.stat().st_size if isinstance(body, Path) else len(body)
            made = super().create(key, body, content_type=content_type, metadata=metadata, given=given)
            if made:
                meters.moved("put", size, meters.clock() - start)
                meters.made(key, body)
            return made

        def create_growing(self, key: str, file: Growing) -> bool:
            start = meters.clock()
            made = super().create_growing(key, file)
            if made:
                meters.moved("put", file.size, meters.clock() - start)
            return made

        def fetch(self, key: str, path: Path, *, limit: int) -> int:
            start = meters.clock()
            size = super().fetch(key, path, limit=limit)
            meters.moved("get", size, meters.clock() - start)
            return size

    class MeteredLedger(RedisLedger):
        def set_progress(self, job: str, fields: Mapping[str, str]) -> None:
            super().set_progress(job, fields)
            meters.progress(job, fields)

        def renew(self, jobs: Sequence[str], nonce: str, seconds: float) -> Pulse:
            pulse = super().renew(jobs, nonce, seconds)
            meters.jobs_led.set(len(pulse.held))
            return pulse

        def announce(self, presence: Presence, seconds: float) -> None:
            super().announce(presence, seconds)
            meters.said()
            if presence.kind == "trainer":
                for state in ("idle", "training", "evaluating", "uploading"):
                    meters.trainer_state.labels(state).set(state == presence.fields.get("state"))

    class MeteredNews(News):
        def append_all(self, completions: Sequence[Completion], source: str) -> None:
            super().append_all(completions, source)
            for completion in completions:
                meters.completions.labels(completion.kind, completion.outcome).inc()

    return Kinds(MeteredStore, MeteredLedger, MeteredNews)
