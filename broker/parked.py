"""Looking into a queue of parked messages without losing any: taken together, and handed back unless settled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .ports import Broker, Delivery
from .topology import DEAD_LETTERS

LETTERS_MAX = 1000  # looked at in one go; they come again when the first are gone
ARRIVE_SECONDS_MAX = 5.0  # for the next of those that the broker said are there
QUIET_SECONDS = 1.0  # after which no more are taken to come: what another look handed back is not counted at once


@contextmanager
def parked(broker: Broker, limit: int = LETTERS_MAX) -> Iterator[list[Delivery]]:
    """The dead letters, oldest first. On leaving, those that were not settled go back to their places.

    Only whoever has them sees them meanwhile. Each look counts as a delivery; their queue has no limit of those.

    Raises:
        BrokerUnavailable, BrokerRefused: as the broker's verbs.
    """
    broker.declare([DEAD_LETTERS])
    ready, _ = broker.depth(DEAD_LETTERS) or (0, 0)
    consumer = broker.consume([DEAD_LETTERS], prefetch=limit)
    try:
        letters: list[Delivery] = []
        while len(letters) < limit:
            letter = consumer.take(ARRIVE_SECONDS_MAX if len(letters) < ready else QUIET_SECONDS)
            if letter is None:
                break
            letters.append(letter)
        yield letters
    finally:
        consumer.close()
