"""What a leader lets others see: the job's progress in the ledger, for watchers and for trainers at work."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from ..storage.errors import StorageError
from ..storage.job import JobSpec
from .events import Round
from .ports import House

CLIENTS_SHOWN_MAX = 500
TELL_SECONDS = 0.25  # between two tellings of nothing but a round's counts: sooner than anybody reads them

log = logging.getLogger("warren.aggregator")

STATES = {"paused": "paused", "ended": "ended"}


class Telling:
    """Keeps the job's progress hash. News only: where Redis does not answer, nobody waits for it."""

    def __init__(self, house: House, spec: JobSpec) -> None:
        self._house = house
        self._spec = spec
        self._last: dict[str, str] = {}
        self._begun: dict[str, str] = {}
        self._standing: object = None
        self._told_at = 0.0  # by the ledger's clock

    def round(self, round: Round, reason: str, now: float) -> None:
        """The state of a round, as the machine has it. Where only its counts changed, not at every answer.

        Redis may write each telling to its disk before it goes on, and what trainers tell waits behind it.

        Args:
            reason: why it is as it is; empty where nothing was decided.
            now: by the ledger's clock.
        """
        standing = (round.number, round.phase, round.plan, round.deadline)
        if not reason and standing == self._standing and 0 <= now - self._told_at < TELL_SECONDS:
            return
        self._standing, self._told_at = standing, now
        fields = {
            "round": str(round.number),
            "state": STATES.get(round.phase, "running"),
            "phase": round.phase,
            "asked": str(len(round.asked)),
            "wanted": str(round.rules.wanted),
            "quorum": str(round.rules.quorum),
            "valid": str(len(round.valid)),
            "rejected": str(len(round.rejected)),
            "failed": str(len(round.failed)),
            "extension": str(round.extensions),
            "deadline": "" if round.deadline is None else f"{round.deadline:.3f}",
            "clients": _clients(round),
        }
        self.progress(fields, reason)

    def progress(self, fields: Mapping[str, str], reason: str) -> None:
        """Where the job stands, as whoever leads it has it."""
        self._tell({**fields, **self._begun, **({"reason": reason} if reason else {})})

    def started(self, seconds: float) -> None:
        """The next round began then; told with its first state."""
        self._begun = {"started": f"{seconds:.3f}"}

    def job(self, state: str, reason: str, **fields: str) -> None:
        """The state of the job as a whole: waiting, paused, cancelled, failed, done."""
        self._tell({"state": state, "reason": reason, **fields})

    def waits(self, reason: str) -> None:
        log.warning(reason, extra={"job": self._spec.job})
        self._tell({"state": "waiting", "reason": reason})

    def again(self) -> None:
        """Say everything anew: Redis was wiped."""
        last, self._last = self._last, {}
        self._tell(last)

    def _tell(self, fields: Mapping[str, str]) -> None:
        whole = {"rounds": str(self._spec.rounds), "leader": self._house.name, **fields}
        changed = {name: value for name, value in whole.items() if self._last.get(name) != value}
        if not changed:
            return
        try:
            self._house.ledger.set_progress(self._spec.job, changed)
        except StorageError:
            return
        self._last.update(changed)


def _clients(round: Round) -> str:
    if len(round.asked) > CLIENTS_SHOWN_MAX:
        return ""
    return json.dumps({client: _standing(round, client) for client in sorted(round.asked)})


def _standing(round: Round, client: str) -> str:
    if client in round.valid:
        return "valid"
    if client in round.rejected:
        return "rejected"
    return "failed" if client in round.failed else "asked"
