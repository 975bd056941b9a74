"""Reads the dead letters: tells the round that a client's job died, and puts the letter where a person finds it."""

from __future__ import annotations

import logging

from ..broker.errors import BrokerError, MessageUnreadable
from ..broker.messages import Completion, Failure, RoundJob, decode
from ..broker.ports import Broker, Consumer, Delivery, Outgoing
from ..broker.topology import DEAD_LETTERS, DELIVERY_LIMIT, ROUNDS_DEAD
from ..storage import keys
from ..storage.errors import StorageError
from ..storage.objects import ObjectStore
from .ports import News, Stop

TAKE_SECONDS = 1.0
TROUBLE_SECONDS = 2.0
HEADER_CHARACTERS_MAX = 1000

log = logging.getLogger("warren.aggregator")


class DeadLetters:
    """Takes each dead letter; acknowledges it only when the round was told and the letter is put away."""

    def __init__(self, broker: Broker, news: News, store: ObjectStore) -> None:
        self._broker = broker
        self._news = news
        self._store = store

    def run(self, stop: Stop) -> None:
        """Until told to stop."""
        consumer: Consumer | None = None
        while not stop.is_set():
            delivery = None
            try:
                consumer = consumer or self._consume()
                delivery = consumer.take(TAKE_SECONDS)
                if delivery is not None:
                    self.handle(delivery)
            except (BrokerError, StorageError) as error:
                log.warning("dead letters wait: %s", error)
                stop.wait(TROUBLE_SECONDS)
                if delivery is not None:
                    delivery.requeue()
        if consumer is not None:
            consumer.close()

    def handle(self, delivery: Delivery) -> None:
        """One dead letter: tell, put away, and only then acknowledge."""
        reason = self.reason(delivery)
        told = _completion(delivery, reason)
        if told is not None:
            self._news.append(*told)
        headers = {**delivery.headers, "reason": reason[:HEADER_CHARACTERS_MAX]}
        self._broker.publish([Outgoing(DEAD_LETTERS, delivery.body, headers)])
        delivery.ack()
        log.warning("dead letter: %s", reason, extra={k: delivery.headers.get(k, "") for k in ("job", "client")})

    def reason(self, delivery: Delivery) -> str:
        """Why the letter is dead, as far as can be told from it."""
        try:
            job = decode(delivery.body, RoundJob)
        except MessageUnreadable as error:
            return f"can't be read: {error}"
        if self._store.stat(keys.spec(job.job)) is None:
            return f"unknown job: {job.job} is not in the store"
        return f"its trainer died or handed it back each time, more than {DELIVERY_LIMIT} deliveries"

    def _consume(self) -> Consumer:
        self._broker.declare([ROUNDS_DEAD, DEAD_LETTERS])
        return self._broker.consume([ROUNDS_DEAD])


def _completion(delivery: Delivery, reason: str) -> tuple[Completion, str] | None:
    """The news for the job's leader, from the headers: the body may be unreadable. None: nobody to tell."""
    said = delivery.headers
    failure = Failure(error="DeadLetter", text=reason[:HEADER_CHARACTERS_MAX])
    try:
        told = Completion.model_validate(
            {
                "job": said["job"],
                "round": int(said["round"]),
                "kind": said["kind"],
                "client": said["client"],
                "attempt": said.get("publication", "unknown"),
                "outcome": "dead",
                "failure": failure,
            }
        )
    except (KeyError, ValueError):
        return None
    return told, said.get("source", "")
