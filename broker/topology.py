"""The names of queues and how each is declared. A change of arguments needs a new version in the name."""

from __future__ import annotations

SUBMISSIONS = "submissions.v1"
ROUNDS_DEAD = "rounds.dead"  # where the broker puts dead letters; an aggregator reads it
DEAD_LETTERS = "dead-letters"  # where a person finds them
DELIVERY_LIMIT = 5  # a round job that took five trainers with it will take the sixth

# RabbitMQ 4 drops what comes back 20 times from a quorum queue that names no limit; 3.10 knows no "never".
_PARKING: dict[str, str | int] = {"x-queue-type": "quorum", "x-delivery-limit": 1 << 30}


def rounds_queue(source: str) -> str:
    """The queue of training and initialising round jobs of a source (`pool.<name>` or `site.<name>`)."""
    return f"rounds.v1.{source}"


def evaluations_queue(source: str) -> str:
    """The queue of evaluation round jobs of a source: taken when no training waits."""
    return f"evaluations.v1.{source}"


def arguments(queue: str) -> dict[str, str | int]:
    """The arguments to declare a queue with; the same on RabbitMQ 3.10 and 4.x."""
    if queue in (ROUNDS_DEAD, DEAD_LETTERS):
        return dict(_PARKING)
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": ROUNDS_DEAD,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",  # what at-least-once dead-lettering requires
    }
