"""Sends round jobs: queues are declared once a leader, and anew when the broker refuses one of them."""

from __future__ import annotations

from collections.abc import Sequence

from ..broker.errors import BrokerRefused
from ..broker.ports import Broker, Outgoing


class Sending:
    """One leader's way to the broker. Declaring at each publish costs a round trip for each queue, every round."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._declared: set[str] = set()

    def __call__(self, messages: Sequence[Outgoing]) -> None:
        """Publish all, to queues that are there. Raises as `Broker.publish`; calling again is what mends a refusal."""
        queues = {message.queue for message in messages} - self._declared
        if queues:
            self._broker.declare(sorted(queues))
            self._declared |= queues
        try:
            self._broker.publish(messages)
        except BrokerRefused:
            self._declared.clear()  # a queue may have been deleted, or its server wiped
            raise
