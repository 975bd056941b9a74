"""Says that a trainer is there and what it is at: news for people, in the ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from ..broker.messages import RoundJob
from ..storage.errors import StorageError
from ..storage.ports import Ledger, Presence

PRESENCE_SECONDS = 20.0  # until who says nothing is forgotten
AGAIN_SECONDS = PRESENCE_SECONDS / 4

log = logging.getLogger("warren.trainer")


class Announcing:
    """Keeps one trainer's presence. Where the ledger does not answer nobody waits for it."""

    def __init__(self, ledger: Ledger, name: str, facts: Mapping[str, str], clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._name = name
        self._facts = facts
        self._clock = clock
        self._said = ("", -PRESENCE_SECONDS)

    @property
    def anything(self) -> bool:
        """Whether anything was said yet."""
        return bool(self._said[0])

    @property
    def due(self) -> bool:
        """Whether something must be said, or the trainer will be forgotten."""
        return self._clock() - self._said[1] >= AGAIN_SECONDS

    def say(self, state: str, job: RoundJob | None = None) -> None:
        """Tell a state: when it changes, and before it is forgotten."""
        what = f"{state} {job.job} {job.round} {job.client}" if job else state
        if what == self._said[0] and not self.due:
            return
        at = {"job": job.job, "round": str(job.round), "client": job.client} if job else {}
        try:
            self._ledger.announce(
                Presence("trainer", self._name, {**self._facts, "state": state, **at}), PRESENCE_SECONDS
            )
            self._said = (what, self._clock())
        except StorageError as error:
            log.info("presence not told: %s", error)
