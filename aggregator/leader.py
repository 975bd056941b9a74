"""Leads one job from its first round to its last: hears, asks the round what to do, and has that carried out."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable

from ..broker.errors import BrokerError
from ..storage.documents import Control, Manifest, Plan
from ..storage.errors import ObjectDamaged, ObjectMissing, StorageError
from ..storage.job import JobSpec
from .carrying import Carrier, write_checkpoint
from .client_states import ClientStates, states_in
from .conclusion import Conclusion
from .evaluation import Evaluations
from .events import ControlState, Effect, Event, Opened, Publish, Round, Wiped
from .glance import Glance
from .hearing import LISTEN_SECONDS_MAX, Hearing
from .patience import Abandoned, Patience
from .plan import rules
from .planning import Planning
from .ports import Hold, House, Stop
from .receipts import Receipts
from .record import ENDS, Record
from .round import advance
from .sending import Sending
from .telling import Telling

log = logging.getLogger("warren.aggregator")

SETTLED = ("open", "paused", "committed", "ended")


class EndedMeanwhile(Exception):
    """The job was ended while it waited for somebody to mend the store."""

    def __init__(self, control: ControlState) -> None:
        super().__init__(control.command)
        self.control = control


class Leader:
    """One job, for as long as the hold on it lasts."""

    def __init__(self, house: House, spec: JobSpec, hold: Hold, stop: Stop, committed: Callable[[JobSpec, int], None]):
        """Lead `spec.job`.

        Args:
            house: what to talk to.
            spec: the job.
            hold: kept up by somebody else; when it is gone, the leader goes too.
            stop: ends the leader; what is half done another goes on with.
            committed: told of each committed round, for what is off the round's path (collecting).
        """
        self._house = house
        self._spec = spec
        self._hold = hold
        self._stop = stop
        self._committed = committed
        self._record = Record(house.store, spec.job)
        self._telling = Telling(house, spec)
        self._patiently = Patience(stop, hold, self._telling.waits)
        self._glance = Glance(house, self._record, self._patiently)
        self._hearing = Hearing(house, spec, hold, stop, lambda: self._patiently(self._record.control), self._glance)
        self._planning = Planning(house, spec, self._record, self._patiently, self._glance)
        self._send = Sending(house.broker)
        self._states = ClientStates(spec)
        self._evaluations = Evaluations(house, spec, self._send, self._states)
        self._to_evaluate: list[int] = []
        self._conclusion = Conclusion(house, spec, self._record)

    def run(self) -> str | None:
        """Lead until the job ends (its last command is returned), or until the hold or the time is over (None)."""
        try:
            while True:
                try:
                    return self._lead()
                except (ObjectMissing, ObjectDamaged) as error:
                    self._halt(f"the store is not as it was left: {error}")
        except Abandoned:
            log.info("stopped leading", extra={"job": self._spec.job})
            return None
        except EndedMeanwhile as end:
            return self._ended(end.control)

    def _lead(self) -> str:
        control = self._patiently(self._record.control)
        if control.command not in ("run", "pause"):
            return control.command  # ended, and laid out, by another
        number, flowing = self._resume(), False
        while True:
            if not flowing or number > self._spec.rounds:  # else the round itself looks, just before it publishes
                control = self._patiently(self._record.control)
                if control.command not in ("run", "pause"):
                    return self._ended(control)
            if number > self._spec.rounds:
                return self._finish()
            flowing = self._lead_round(number, flowing)
            if flowing:
                number += 1

    def _resume(self) -> int:
        """The round to go on with; a round that is frozen and not written is written first."""
        highest = self._patiently(self._record.highest_manifest)
        if highest is None:
            return 0
        manifest = self._patiently(self._record.manifest, highest)
        if not self._patiently(self._record.committed, highest):
            write_checkpoint(self._house, self._spec, self._record, manifest, self._patiently, self._halt)
        store, record = self._house.store, self._record
        self._states.resume(lambda number: self._patiently(states_in, store, record, number), highest)
        self._patiently(self._evaluations.resume, range(highest + 1))
        self._house.label(self._spec, "evaluated", highest)  # another may have died just before it did
        return highest + 1

    def _lead_round(self, number: int, flowing: bool) -> bool:
        """One round, until it is committed (True), or the job ended in it. Flowing: we committed the one before."""
        plan, fresh = self._planning.plan(number, flowing=flowing)
        receipts = Receipts(self._house, self._spec, number, plan.base, self._patiently)
        receipts.ask(plan.clients)
        now = self._patiently(self._house.ledger.now)
        carrier = Carrier(
            self._house,
            self._spec,
            self._record,
            plan,
            receipts,
            self._patiently,
            self._halt,
            self._send,
            self._states,
            self._glance,
            self._planning.begin,
            now,
        )
        round = Round(number, frozenset(plan.clients), rules(self._spec, plan), plan.number)
        self._telling.started(now)
        round = self._settle(round, [self._opened(plan, fresh)], carrier)
        while round.phase in ("open", "paused"):
            events = self._hearing.listen(receipts, round.deadline, self._evaluations.hear)
            self._patiently.check()
            round = self._settle(round, events, carrier)
            self._evaluate(events)
        if round.phase == "committed" and carrier.manifest is not None:
            self._advance(carrier.manifest)
        return round.phase == "committed"

    def _settle(self, round: Round, events: Iterable[Event], carrier: Carrier) -> Round:
        """Feed the events, carry out the effects, feed what comes of them, until nothing is left to do.

        What came of it all is told at the end, once: each telling waits for Redis, and a pause counts when it
        stands. Before round jobs go out their round is told too, as trainers drop the work of a paused job.
        Of a round that is committed the next one tells. All events count as heard at one time.
        """
        now = self._patiently(self._house.ledger.now)
        heard = deque(events)
        due: deque[Effect] = deque()
        last = ""
        while heard or due:
            if due:
                effect = due.popleft()
                if isinstance(effect, Publish):
                    self._telling.round(round, last, now)
                heard.extendleft(reversed(carrier.carry_out(effect, round)))
            else:
                step = advance(round, heard.popleft(), now)
                round, last = step.round, step.reason or last
                due.extend(step.effects)
                self._log(round, step.reason)
        if round.phase != "committed" or round.number == self._spec.rounds:
            self._telling.round(round, last, now)
        assert round.phase in SETTLED, round.phase
        return round

    def _opened(self, plan: Plan, fresh: bool) -> Opened:
        if fresh:
            return Opened(True, self._record.last_control)
        control = self._patiently(self._record.control)
        names = self._patiently(self._house.ledger.deadlines, self._spec.job, plan.round)
        return Opened(False, control, extensions=_extensions(names, plan.number, control.number))

    def _log(self, round: Round, reason: str) -> None:
        if reason:
            log.info("round %d: %s", round.number, reason, extra={"job": self._spec.job, "round": round.number})

    def _evaluate(self, events: Iterable[Event]) -> None:
        """What is off the round's path: evaluations that are ready or late."""
        if any(isinstance(event, Wiped) for event in events):
            self._telling.again()
            self._evaluations.again()
        while self._to_evaluate:
            self._patiently(self._evaluations.begin, self._to_evaluate.pop(0))
        if self._evaluations.open:
            frozen = self._patiently(lambda: self._evaluations.tick(self._house.ledger.now()))
            for number in frozen:
                self._house.label(self._spec, "evaluated", number)
            best = self._patiently(self._conclusion.keep_best, frozen)
            if best is not None:
                self._house.label(self._spec, "best", best)

    def _advance(self, manifest: Manifest) -> None:
        self._hearing.trim()
        self._house.label(self._spec, "committed", manifest.round)
        self._states.note(manifest)
        self._to_evaluate.append(manifest.round)  # begun when the next round is out
        self._committed(self._spec, manifest.round)

    def _halt(self, reason: str) -> None:
        """Pause the job for this reason, and wait until somebody lets it go on. Raises EndedMeanwhile."""
        by = f"aggregator {self._house.name}"
        self._patiently(
            self._record.command, Control(command="pause", reason=reason, by=by, at=self._house.wall_clock())
        )
        self._telling.job("paused", reason)
        log.error(reason, extra={"job": self._spec.job})
        while (control := self._patiently(self._record.control)).command == "pause":
            self._patiently.check()
            self._stop.wait(LISTEN_SECONDS_MAX)
        if control.command in ENDS:
            raise EndedMeanwhile(control)

    def _finish(self) -> str:
        """All rounds are committed: wait for the evaluations that are under way, then lay out the results."""
        receipts = Receipts(self._house, self._spec, self._spec.rounds + 1, None, self._patiently)
        self._evaluate(())
        while self._evaluations.open:
            events = self._hearing.listen(receipts, None, self._evaluations.hear)
            self._patiently.check()
            self._evaluate(events)
        self._patiently(self._conclusion.conclude)
        self._house.label(self._spec, "final", self._spec.rounds)
        self._patiently(self._conclusion.lay_out)
        reason = f"{self._spec.rounds} rounds"
        done = Control(command="done", reason=reason, by=f"aggregator {self._house.name}", at=self._house.wall_clock())
        control = self._patiently(self._record.command, done)
        while control.command not in ENDS:  # somebody's pause came first: no round is left that it could hold up
            control = self._patiently(self._record.command, done)
        return self._ended(control)

    def _ended(self, control: ControlState) -> str:
        state = {"cancel": "cancelled", "fail": "failed"}.get(control.command, control.command)
        self._telling.job(state, control.reason)
        try:
            if control.command != "done":
                self._conclusion.lay_out()
            self._house.news.forget(self._spec.job)
        except (StorageError, BrokerError) as error:
            log.warning("not tidied up: %s", error, extra={"job": self._spec.job})
        return control.command


def _extensions(names: Iterable[str], plan: int, generation: int) -> int:
    """How many extensions the ledger still knows of, in the names `<plan>.<extension>.<generation>` of deadlines."""
    used = [0]
    for name in names:
        parts = name.split(".")
        if len(parts) == 3 and parts[0] == str(plan) and parts[2] == str(generation) and parts[1].isdigit():
            used.append(int(parts[1]))
    return max(used)
