"""Carrying out what a flow wants: each effect becomes I/O, and what came of it an event. No rule stands here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ... import __version__
from ...broker.messages import SET_ASIDE_MAX, RoundJob
from ...broker.ports import Outgoing
from ...broker.topology import rounds_queue
from ...storage.documents import Base, Control, Manifest, Plan
from ...storage.job import JobSpec
from ..account import REASON_CHARACTERS_MAX, round_to_ms, weighted_metrics
from ..carrying import PUBLISH_BATCH, outgoing, write_checkpoint
from ..events import (
    Answers,
    Controlled,
    Freeze,
    Look,
    Looked,
    Publish,
    Write,
    WriteControl,
    Written,
)
from ..patience import Patience
from ..ports import House
from ..record import Record
from ..sending import Sending
from .events import AskAnew, Effect, Event, Flow, Planned
from .receipts import FlowReceipts
from .standing import bases_of_plan, counted


class FlowCarrier:
    """Carries out the effects of one version."""

    def __init__(
        self,
        house: House,
        spec: JobSpec,
        record: Record,
        version: int,
        base: Base,
        receipts: FlowReceipts,
        patiently: Patience,
        halt: Callable[[str], None],
        send: Sending,
    ) -> None:
        self.manifest: Manifest | None = None
        self._house = house
        self._spec = spec
        self._record = record
        self._version = version
        self._bases: dict[int, Base] = {version - 1: base}
        self._receipts = receipts
        self._patiently = patiently
        self._halt = halt
        self._send = send
        self._started = patiently(house.ledger.now)
        self._index = {name: index for index, name in enumerate(spec.client_names)}
        self._published = 0

    def carry_out(self, effect: Effect, flow: Flow) -> list[Event]:
        """Do it, however long the servers take; what came of it. Raises Abandoned."""
        return self._DOING[type(effect)](self, effect, flow)

    def _look(self, effect: Look, flow: Flow) -> list[Event]:
        found = self._receipts.from_store() if effect.store else []
        events: list[Event] = [Answers(tuple(found))] if found else []
        return [*events, Looked(self._patiently(self._record.control))]

    def _ask_anew(self, effect: AskAnew, flow: Flow) -> list[Event]:
        standing = self._version - 1
        mine = Plan(
            round=self._version,
            number=effect.number,
            clients=tuple(sorted(effect.bases)),
            wanted=max(1, flow.rules.takes),
            quorum=max(1, flow.rules.takes),
            base=self._bases[standing],
            bases={client: base for client, base in sorted(effect.bases.items()) if base != standing},
            clocks=dict(effect.clocks),
        )
        plan, ours = self._patiently(self._record.settle_plan, mine)
        return [Planned(plan.number, bases_of_plan(plan), plan.clocks, ours)]

    def _publish(self, effect: Publish, flow: Flow) -> list[Event]:
        for start in range(0, len(effect.clients), PUBLISH_BATCH):
            some = effect.clients[start : start + PUBLISH_BATCH]
            jobs = [self._round_job(client, flow.out[client].base, effect.again) for client in some]
            self._patiently(self._send, jobs)
        return []

    def _round_job(self, client: str, version: int, again: bool) -> Outgoing:
        self._published += 1
        base = self._base(version)
        job = RoundJob(
            job=self._spec.job,
            round=version + 1,
            kind="train",
            client=client,
            index=self._index[client],
            count=len(self._index),
            source=self._spec.source_of(client),
            base=base.key,
            base_digest=base.digest,
            base_bytes=base.size,
            publication=f"{self._house.nonce[:40]}-{self._version}-{self._published}",
            again=again,
            set_aside=self._receipts.set_aside(client)[-SET_ASIDE_MAX:],
        )
        return outgoing(job, rounds_queue(job.source))

    def _base(self, version: int) -> Base:
        if version not in self._bases:
            self._bases[version] = self._patiently(self._house.numbers.base, self._spec.job, version)
        return self._bases[version]

    def _freeze(self, effect: Freeze, flow: Flow) -> list[Event]:
        entries = tuple(self._receipts.entries[client] for client in effect.clients)
        mine = Manifest(
            job=self._spec.job,
            round=self._version,
            plan=flow.plan,
            base=self._bases[self._version - 1],
            entries=entries,
            rejected=_lost(flow, "rejected"),
            failed=_lost(flow, "failed"),
            silent=_lost(flow, "silent"),
            reason=effect.reason[:REASON_CHARACTERS_MAX],
            quorum=max(1, flow.rules.takes),
            asked=len(flow.listed),
            metrics=weighted_metrics((entry.examples, entry.metrics) for entry in entries),
            seconds=round_to_ms(self._patiently(self._house.ledger.now) - self._started),
            frozen_at=self._house.wall_clock(),
            versions={"warren": __version__},
        )
        self.manifest = self._patiently(self._record.freeze, mine)
        return [counted(self.manifest)]

    def _write(self, effect: Write, flow: Flow) -> list[Event]:
        assert self.manifest is not None
        write_checkpoint(self._house, self._spec, self._record, self.manifest, self._patiently, self._halt)
        return [Written()]

    def _write_control(self, effect: WriteControl, flow: Flow) -> list[Event]:
        """Pause or end the job, unless another leader has frozen the version meanwhile: then go on with that."""
        if self._patiently(self._record.frozen, self._version):
            self.manifest = self._patiently(self._record.manifest, self._version)
            return [counted(self.manifest)]
        by = f"aggregator {self._house.name}"
        control = Control(command=effect.command, reason=effect.reason[:20_000], by=by, at=self._house.wall_clock())
        state = self._patiently(self._record.command, control)
        return [] if state.command == effect.command else [Controlled(state)]

    _DOING: Mapping[type, Callable[[FlowCarrier, Any, Flow], list[Event]]] = {
        Look: _look,
        AskAnew: _ask_anew,
        Publish: _publish,
        Freeze: _freeze,
        Write: _write,
        WriteControl: _write_control,
    }


def _lost(flow: Flow, how: str) -> dict[str, str]:
    return {c: one.reason[:REASON_CHARACTERS_MAX] for c, one in sorted(flow.lost.items()) if one.how == how}
