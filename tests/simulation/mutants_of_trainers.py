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

    def _finish(self: Worker, ready: Any, consumer: Any) -> None:
        ready.delivery.ack()
        finished(self, ready, consumer)

    finished = Worker._finish
    return [(Worker, "_finish", _finish)]


def told_before_acknowledged() -> Sequence[Patch]:
    """A trainer acknowledges a bundle of round jobs, and then stores and tells what came of them."""

    def send(self: Bundle) -> None:
        for one in self._waiting:
            one.delivery.ack()
            one.delivery = Settled()
        sent(self)

    sent = Bundle.send

    return [(Bundle, "send", send)]


class Settled:
    """A round job that RabbitMQ hears nothing more of."""

    queue, body, deliveries_before, headers = "", b"", 0, {}  # type: ignore[var-annotated]

    def ack(self) -> None: ...
    def requeue(self) -> None: ...
    def dead_letter(self) -> None: ...


def updates_have_files_of_their_own() -> Sequence[Patch]:
    """A trainer writes each update into the file of the one before it, which may be on its way still."""

    return [(Outbox, "path", property(lambda _: None))]
