"""Evaluating checkpoints: asked as round jobs of their own, frozen apart, never in a round's way."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..broker.errors import BrokerError
from ..broker.messages import Completion, Kind, RoundJob
from ..broker.ports import Outgoing
from ..broker.topology import evaluations_queue
from ..storage import keys
from ..storage.documents import Base, ClientResult, Evaluation, write_document
from ..storage.errors import ObjectMissing, StorageError
from ..storage.job import JobSpec
from .answers import Answer, merged_metrics
from .carrying import named, outgoing
from .client_states import ClientStates
from .judging import OPEN_MAX, Asked, asked_to_evaluate, is_evaluated
from .ports import House
from .record import JSON
from .sending import Sending
from .spread import bounded_reasons, kept_rows, spreads

SEND_AGAIN_SECONDS = 5.0  # before what the broker did not take is sent again
LOOK_SECONDS = 5.0  # between two looks for what another leader froze: trainers give no answer for that

log = logging.getLogger("warren.aggregator")


@dataclass(slots=True)
class Pending:
    """One checkpoint's evaluation: who is asked, and what came."""

    base: Base
    asked: frozenset[Asked]
    deadline: float
    unsent: bool = False  # the broker did not take it all
    results: dict[Asked, Answer] = field(default_factory=dict)
    failed: dict[Asked, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return len(self.results) + len(self.failed) >= len(self.asked)


class Evaluations:
    """The evaluations of one job that are not frozen yet. A server that does not answer only makes them later."""

    def __init__(self, house: House, spec: JobSpec, send: Sending, states: ClientStates) -> None:
        self._house = house
        self._spec = spec
        self._send = send
        self._states = states
        self._open: dict[int, Pending] = {}
        self._sent = 0
        self._send_again_at = 0.0
        self._look_at = 0.0

    @property
    def open(self) -> int:
        return len(self._open)

    def resume(self, committed: Iterable[int]) -> None:
        """Ask again for what is due and was not frozen; a deleted checkpoint can't be evaluated any more."""
        prefix = keys.evaluations(self._spec.job)
        done = {info.key for info in self._house.store.list(prefix)}
        missing = [
            n for n in committed if is_evaluated(self._spec, n) and keys.evaluation(self._spec.job, n) not in done
        ]
        for round_number in missing[-OPEN_MAX:]:
            try:
                self.begin(round_number)
            except ObjectMissing:
                continue

    def begin(self, round_number: int) -> None:
        """Ask for the evaluation of a committed round, if it is due."""
        if not is_evaluated(self._spec, round_number) or round_number in self._open:
            return
        base = self._house.numbers.base(self._spec.job, round_number)
        seconds = self._spec.evaluate.deadline_seconds
        deadline = self._house.ledger.start_deadline(self._spec.job, round_number, "evaluation", seconds)
        pending = Pending(base, asked_to_evaluate(self._spec), deadline)
        self._open[round_number] = pending
        self._publish(round_number, pending)
        while len(self._open) > OPEN_MAX:
            self._freeze(min(self._open))

    def hear(self, told: Completion) -> None:
        """One client's numbers, or why there are none. Each counts once; numbers replace a failure."""
        pending = self._open.get(told.round)
        asked = (told.kind, told.client)
        if pending is None or asked not in pending.asked or asked in pending.results:
            return
        if told.outcome == "evaluated":
            pending.results[asked] = Answer(told.examples, told.metrics, told.counts, told.counted)
            pending.failed.pop(asked, None)
        elif told.outcome in ("failed", "dead"):
            pending.failed[asked] = str(told.failure or told.outcome)

    def tick(self, now: float) -> list[int]:
        """Freeze what is complete or late; the rounds that were frozen now. Ask for what could not be asked."""
        self._send_unsent(now)
        elsewhere = self._frozen_elsewhere(now)
        ready = [n for n, pending in sorted(self._open.items()) if pending.complete or now >= pending.deadline]
        frozen = []
        for round_number in ready:
            try:
                self._freeze(round_number)
                frozen.append(round_number)
            except StorageError as error:
                log.warning("evaluation of round %d waits: %s", round_number, error, extra={"job": self._spec.job})
        return sorted([*elsewhere, *frozen])

    def again(self) -> None:
        """Redis was wiped: results may be lost, ask again for what is open."""
        for round_number, pending in self._open.items():
            self._publish(round_number, pending)

    def _send_unsent(self, now: float) -> None:
        unsent = [(n, pending) for n, pending in self._open.items() if pending.unsent and now < pending.deadline]
        if unsent and now >= self._send_again_at:
            self._send_again_at = now + SEND_AGAIN_SECONDS
            for round_number, pending in unsent:
                self._publish(round_number, pending)

    def _frozen_elsewhere(self, now: float) -> list[int]:
        """Let go of what another leader froze meanwhile: an old one that did not yet know, or a new one."""
        if not self._open or now < self._look_at:
            return []
        self._look_at = now + LOOK_SECONDS
        before = keys.evaluation(self._spec.job, max(0, min(self._open) - 1))
        try:
            there = {info.key for info in self._house.store.list(keys.evaluations(self._spec.job), after=before)}
        except StorageError:
            return []
        gone = [n for n in self._open if keys.evaluation(self._spec.job, n) in there]
        for round_number in gone:
            del self._open[round_number]
        return gone

    def _publish(self, round_number: int, pending: Pending) -> None:
        left = sorted(pending.asked - pending.results.keys() - pending.failed.keys())
        messages = [self._round_job(round_number, pending.base, kind, client) for kind, client in left]
        pending.unsent = True
        try:
            self._send(messages)
            pending.unsent = False
        except BrokerError as error:
            log.warning("evaluation of round %d not asked: %s", round_number, error, extra={"job": self._spec.job})

    def _round_job(self, round_number: int, base: Base, kind: Kind, client: str) -> Outgoing:
        self._sent += 1
        names = self._spec.client_names
        source = self._spec.source_of(client)
        job = RoundJob(
            job=self._spec.job,
            round=round_number,
            kind=kind,
            client=client,
            index=names.index(client) if client in names else 0,
            count=len(names),
            source=source,
            **named("base", base),
            **named("state", self._states.of(client, round_number) if kind == "evaluate" else None),
            publication=f"{self._house.nonce[:40]}-e{self._sent}",
        )
        return outgoing(job, evaluations_queue(source))

    def _freeze(self, round_number: int) -> None:
        pending = self._open[round_number]
        document = summarise(self._spec, round_number, pending, self._house.wall_clock())
        key = keys.evaluation(self._spec.job, round_number)
        self._house.store.create(key, write_document(document), content_type=JSON)
        del self._open[round_number]


def summarise(spec: JobSpec, round_number: int, pending: Pending, at: str) -> Evaluation:
    """The document: metrics as over all examples, their spread, each client's own numbers, and who is missing."""
    held = [r for (kind, _), r in sorted(pending.results.items()) if kind == "test" and r.examples]
    shares = {c: r for (kind, c), r in sorted(pending.results.items()) if kind == "evaluate" and r.examples}
    rows = {c: ClientResult(examples=r.examples, metrics=r.metrics) for c, r in shares.items()}
    answered = pending.results.keys()
    missing = [(f"{kind} {client}", pending.failed.get((kind, client), "no answer in time"))
               for kind, client in sorted(pending.asked - answered)]  # fmt: skip
    return Evaluation(
        job=spec.job,
        round=round_number,
        held_out=merged_metrics(held),
        held_out_examples=sum(r.examples for r in held),
        validation=merged_metrics(shares.values()),
        spread=spreads(rows),
        clients=kept_rows(rows, spec.evaluate.best),
        missing=bounded_reasons(missing),
        at=at,
    )
