"""Promises of a trainer, each broken on purpose: what it acknowledges when, and what it stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simulation.mutants_of_states import Patch

from warren.trainer.bundle import Bundle
from warren.trainer.outbox import Outbox
from warren.trainer.worker import Worker


def acknowledged_last() -> Sequence[Patch]:
    """A trainer acknowledges its round job before it does the work."""

    def _settle(self: Worker, delivery: Any, *about: Any) -> None:
        delivery.ack()
        settled(self, delivery, *about)

    settled = Worker._settle
    return [(Worker, "_settle", _settle)]


def told_before_acknowledged() -> Sequence[Patch]:
    """A trainer acknowledges a bundle of round jobs, and then tells of them."""

    def send(self: Bundle) -> None:
        waiting, self._waiting = self._waiting, []
        for delivery, _ in waiting:
            delivery.ack()
        self._news.append_all([completion for _, completion in waiting], self._source)

    return [(Bundle, "send", send)]


def updates_have_files_of_their_own() -> Sequence[Patch]:
    """A trainer writes each update into the file of the one before it, which may be on its way still."""

    return [(Outbox, "path", property(lambda _: None))]
