"""Leads one asynchronous job: round 0 as a round, then version after version, as one flow."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable

from ..events import Opened, Publish
from ..leader import SETTLED, Leader
from .carrying import FlowCarrier
from .events import Effect, Event, Flow
from .receipts import FlowReceipts, open_asks
from .rules import advance
from .standing import read_flow
from .telling import progress_of

log = logging.getLogger("warren.aggregator")


class FlowLeader(Leader):
    """A `Leader` whose rounds from 1 on are versions: what is out when one is made stays out for the next."""

    _flow: Flow | None = None
    _receipts: FlowReceipts | None = None

    def _lead_round(self, number: int, flowing: bool) -> bool:
        """One version, until it is committed (True), or the job ended in it. Flowing: we committed the one before."""
        if number == 0:
            return super()._lead_round(number, flowing)
        flow, receipts, carrier = self._begin(number, flowing)
        self._telling.started(self._patiently(self._house.ledger.now))
        fresh = flowing and flow.plan < 0  # else another leader has begun with this version
        flow = self._settle_flow(flow, [Opened(fresh, self._record.last_control)], carrier, receipts)
        listened = False
        while flow.phase in ("open", "paused"):
            events = self._hearing.listen(receipts, flow.deadline, self._evaluations.hear)
            self._patiently.check()
            flow = self._settle_flow(flow, events, carrier, receipts)
            self._evaluate(events)
            listened = True
        self._flow = flow
        if flow.phase == "committed" and carrier.manifest is not None:
            self._advance(carrier.manifest)
        if not listened:
            self._evaluate(())
        return flow.phase == "committed"

    def _begin(self, number: int, flowing: bool) -> tuple[Flow, FlowReceipts, FlowCarrier]:
        base = self._patiently(self._house.numbers.base, self._spec.job, number - 1)
        if not flowing or self._flow is None or self._receipts is None or self._flow.version != number:
            self._flow = self._patiently(read_flow, self._record, self._spec, number)
            self._receipts = FlowReceipts(self._house, self._spec, number, base, self._patiently)
        self._receipts.round, self._receipts.base = number, base
        self._receipts.expect(open_asks(self._flow))
        carrier = FlowCarrier(
            self._house,
            self._spec,
            self._record,
            number,
            base,
            self._receipts,
            self._patiently,
            self._halt,
            self._send,
        )
        return self._flow, self._receipts, carrier

    def _settle_flow(self, flow: Flow, events: Iterable[Event], carrier: FlowCarrier, receipts: FlowReceipts) -> Flow:
        """Feed the events, carry out the effects, feed what comes of them, until nothing is left; see `_settle`."""
        heard = deque(events)
        due: deque[Effect] = deque()
        last = ""
        while heard or due:
            if due:
                effect = due.popleft()
                if isinstance(effect, Publish):
                    self._telling.progress(progress_of(flow), last)
                heard.extendleft(reversed(carrier.carry_out(effect, flow)))
            else:
                step = advance(flow, heard.popleft(), self._patiently(self._house.ledger.now))
                flow, last = step.flow, step.reason or last
                due.extend(step.effects)
                receipts.expect(open_asks(flow))
                if step.reason:
                    extra = {"job": self._spec.job, "round": flow.version}
                    log.info("version %d: %s", flow.version, step.reason, extra=extra)
        self._telling.progress(progress_of(flow), last)
        assert flow.phase in SETTLED, flow.phase
        return flow
