"""Carrying out what a round wants: each effect becomes I/O, and what came of it an event. No rule stands here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..broker.messages import SET_ASIDE_MAX, RoundJob, encode
from ..broker.ports import Outgoing
from ..broker.topology import rounds_queue
from ..storage.documents import Base, Control, Entry, Manifest, Plan
from ..storage.errors import ObjectDamaged, ObjectMissing, StorageError
from ..storage.job import JobSpec
from .account import account_for, round_to_ms
from .client_states import ClientStates
from .events import (
    Answers,
    Controlled,
    DeadlineStarted,
    Effect,
    Event,
    Freeze,
    Frozen,
    Look,
    Looked,
    Publish,
    Resample,
    Resampled,
    Round,
    StartDeadline,
    Write,
    WriteControl,
    Written,
)
from .glance import Glance
from .patience import Patience
from .plan import resampled_plan
from .ports import House
from .receipts import Receipts
from .record import Record
from .sending import Sending

PUBLISH_BATCH = 250  # round jobs that are made and given to the broker at a time: each takes 3 kB on its way


class Carrier:
    """Carries out the effects of one round."""

    def __init__(
        self,
        house: House,
        spec: JobSpec,
        record: Record,
        plan: Plan,
        receipts: Receipts,
        patiently: Patience,
        halt: Callable[[str], None],
        send: Sending,
        states: ClientStates,
        glance: Glance,
        plan_next: Callable[[Manifest], None],
        started: float,
    ) -> None:
        self.plan = plan
        self.manifest: Manifest | None = None
        self._house = house
        self._spec = spec
        self._record = record
        self._receipts = receipts
        self._patiently = patiently
        self._halt = halt
        self._send = send
        self._states = states
        self._glance = glance
        self._plan_next = plan_next
        self._started = started  # by the ledger's clock
        self._index = {name: index for index, name in enumerate(spec.client_names)}
        self._published = 0
        self._asked_at: dict[str, float] = {}  # where work is balanced

    def carry_out(self, effect: Effect, round: Round) -> list[Event]:
        """Do it, however long the servers take; what came of it. Raises Abandoned."""
        return self._DOING[type(effect)](self, effect, round)

    def _look(self, effect: Look, round: Round) -> list[Event]:
        if effect.store:
            self._glance.drop()
        found = self._receipts.from_store() if effect.store else []
        events: list[Event] = [Answers(tuple(found))] if found else []
        return [*events, Looked(self._glance())]

    def _publish(self, effect: Publish, round: Round) -> list[Event]:
        for start in range(0, len(effect.clients), PUBLISH_BATCH):
            some = effect.clients[start : start + PUBLISH_BATCH]
            if self._spec.balance.balances:
                self._asked_at |= dict.fromkeys(some, self._patiently(self._house.ledger.now))
            self._patiently(self._send, [self._round_job(client, effect.again) for client in some])
        return []

    def _round_job(self, client: str, again: bool) -> Outgoing:
        self._published += 1
        job = RoundJob(
            job=self._spec.job,
            round=self.plan.round,
            kind="init" if self.plan.round == 0 else "train",
            plan=self.plan.number,
            client=client,
            index=self._index[client],
            count=len(self._index),
            source=self._spec.source_of(client),
            **named("base", self.plan.base),
            **named("state", self._states.of(client, self.plan.round - 1)),
            **named("server", self.plan.server),
            share=self.plan.shares.get(client),
            publication=f"{self._house.nonce[:40]}-{self._published}",
            again=again,
            set_aside=self._receipts.set_aside(client)[-SET_ASIDE_MAX:],
            parcels=not self._spec.sites,
        )
        return outgoing(job, rounds_queue(job.source))

    def _start_deadline(self, effect: StartDeadline, round: Round) -> list[Event]:
        start = self._house.ledger.start_deadline
        at = self._patiently(start, self._spec.job, self.plan.round, effect.name, effect.seconds)
        return [DeadlineStarted(effect.name, at)]

    def _resample(self, effect: Resample, round: Round) -> list[Event]:
        wanted = resampled_plan(self._spec, self.plan, round.valid.keys())
        if wanted is None:
            return [Resampled(round.plan, ())]
        before = set(self.plan.clients)
        self.plan, _ = self._patiently(self._record.settle_plan, wanted)
        self._receipts.ask(self.plan.clients)
        return [Resampled(self.plan.number, tuple(c for c in self.plan.clients if c not in before))]

    def _freeze(self, effect: Freeze, round: Round) -> list[Event]:
        seconds = self._patiently(self._house.ledger.now) - self._started
        entries = tuple(self._timed(self._receipts.entries[client]) for client in effect.clients)
        mine = account_for(self._house, self._spec, self.plan, round, entries, effect.reason, seconds)
        self.manifest = self._frozen(mine)
        return [Frozen(tuple(entry.client for entry in self.manifest.entries))]

    def _frozen(self, mine: Manifest) -> Manifest:
        """The manifest that stands. Meanwhile the checkpoint is made that follows from ours."""
        self._patiently.check()
        begun = self._house.begin(lambda: self._record.freeze(mine))
        self._house.numbers.prepare(self._spec, mine)
        try:
            return begun()
        except StorageError:
            return self._patiently(self._record.freeze, mine)

    def _timed(self, entry: Entry) -> Entry:
        """With its round-trip, where that was measured: the next round's work follows from it."""
        asked, came = self._asked_at.get(entry.client), self._receipts.came_at.get(entry.client)
        if asked is None or came is None:
            return entry
        return replace(entry, took=round_to_ms(max(0.0, came - asked)))

    def _write(self, effect: Write, round: Round) -> list[Event]:
        assert self.manifest is not None
        self._plan_next(self.manifest)
        write_checkpoint(self._house, self._spec, self._record, self.manifest, self._patiently, self._halt)
        return [Written()]

    def _write_control(self, effect: WriteControl, round: Round) -> list[Event]:
        """Pause or end the job, unless another leader has frozen the round meanwhile: then go on with that."""
        if self._patiently(self._record.frozen, self.plan.round):
            self.manifest = self._patiently(self._record.manifest, self.plan.round)
            return [Frozen(tuple(entry.client for entry in self.manifest.entries))]
        by = f"aggregator {self._house.name}"
        control = Control(command=effect.command, reason=effect.reason[:20_000], by=by, at=self._house.wall_clock())
        state = self._patiently(self._record.command, control)
        return [] if state.command == effect.command else [Controlled(state)]

    _DOING: dict[type, Callable[[Carrier, Any, Round], list[Event]]] = {
        Look: _look,
        Publish: _publish,
        StartDeadline: _start_deadline,
        Resample: _resample,
        Freeze: _freeze,
        Write: _write,
        WriteControl: _write_control,
    }


def write_checkpoint(
    house: House,
    spec: JobSpec,
    record: Record,
    manifest: Manifest,
    patiently: Patience,
    halt: Callable[[str], None],
) -> None:
    """Create the checkpoint of a frozen round; where a frozen object is missing the job halts, and it is named.

    Unless it is gone because another leader wrote the checkpoint, and the round's updates were collected.
    """
    while True:
        try:
            return patiently(house.numbers.write, spec, manifest)
        except (ObjectMissing, ObjectDamaged) as error:
            if patiently(record.committed, manifest.round) or patiently(record.highest_manifest) != manifest.round:
                return None
            halt(f"round {manifest.round} is frozen, but its checkpoint can't be made: {error}")


def named(field: str, base: Base | None) -> dict[str, Any]:
    """The three fields of a round job that name an object; none where there is none."""
    return {} if base is None else {field: base.key, f"{field}_digest": base.digest, f"{field}_bytes": base.size}


def outgoing(job: RoundJob, queue: str) -> Outgoing:
    """A round job as a message, named in its headers too: an unreadable body is still somebody's."""
    headers = {
        "job": job.job,
        "round": str(job.round),
        "client": job.client,
        "kind": job.kind,
        "source": job.source,
        "publication": job.publication,
    }
    return Outgoing(queue, encode(job), headers)
