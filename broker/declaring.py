"""Declares only what is missing: a trainer's account may look at its queues, and make none."""

from __future__ import annotations

from collections.abc import Sequence

from .ports import Broker


def declare_missing(broker: Broker, queues: Sequence[str]) -> None:
    """Make those of the queues that are not there.

    Raises:
        BrokerRefused: one is missing and this account may make none (`warren setup`, `warren site add` do).
        BrokerUnavailable: as every verb of a broker.
    """
    missing = [queue for queue in queues if broker.depth(queue) is None]
    if missing:
        broker.declare(missing)
