"""A dead letter as a person sees it: whose it is, why it died, what became of its client, and sending it again."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from blake3 import blake3

from ..broker.errors import MessageUnreadable
from ..broker.messages import RoundJob, decode
from ..broker.ports import Broker, Delivery
from ..broker.topology import evaluations_queue, rounds_queue
from ..storage import keys
from ..storage.documents import Evaluation, Manifest, read_document
from ..storage.errors import ObjectMissing
from ..storage.objects import ObjectStore
from .carrying import outgoing
from .flow.standing import read_flow
from .record import Record

ID_CHARACTERS = 8
FACT_CHARACTERS_MAX = 1000

_OVER = {"cancel": "cancelled", "fail": "failed", "done": "done"}


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter; facts come from its headers, which its body need not bear out."""

    id: str
    delivery: Delivery
    order: RoundJob | None  # what its body says; None where it can't be read
    reason: str

    def fact(self, name: str) -> str:
        """A header, as it was sent: job, round, client, kind, source, publication."""
        text = self.delivery.headers.get(name, "")[:FACT_CHARACTERS_MAX]
        return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


class NotReplayed(Exception):
    """Sending the letter again would come to nothing; the words say why."""


def read_letter(delivery: Delivery) -> Letter:
    """What is known of a dead letter. The id follows from its bytes and its sending: the same at each look."""
    publication = delivery.headers.get("publication", "")
    digest = blake3(delivery.body + b"\0" + publication.encode()).hexdigest()
    try:
        order = decode(delivery.body, RoundJob)
        unreadable = ""
    except MessageUnreadable as error:
        order, unreadable = None, f"can't be read: {error}"
    letter = Letter(digest[:ID_CHARACTERS], delivery, order, "")
    return Letter(letter.id, delivery, order, letter.fact("reason") or unreadable or "not said")


def fate(store: ObjectStore, letter: Letter) -> str:
    """What became of the client's part in the round, as the store tells it."""
    settled = _settled(store, letter)
    if settled or letter.order is None:
        return settled
    return f"round {letter.order.round} is still open"


def replay(broker: Broker, store: ObjectStore, letter: Letter) -> str:
    """Send the letter again to the queue it came from, then take it away; its client is asked anew.

    Returns:
        The queue.

    Raises:
        NotReplayed: nobody waits for it any more; it stays where it is.
    """
    order, settled = letter.order, _settled(store, letter)
    if order is None or settled:
        raise NotReplayed(settled)
    training = order.kind in ("init", "train")
    queue = rounds_queue(order.source) if training else evaluations_queue(order.source)
    again = order.model_copy(update={"again": True, "publication": f"replay-{secrets.token_hex(8)}"})
    broker.declare([queue])
    broker.publish([outgoing(again, queue)])
    letter.delivery.ack()
    return queue


def _settled(store: ObjectStore, letter: Letter) -> str:
    """Why nobody waits for this letter any more; empty where its round is open."""
    order = letter.order
    if order is None:
        return "nobody can take it: its bytes are no round job"
    if store.stat(keys.spec(order.job)) is None:
        return f"its job {order.job} is not in the store"
    closed = _closed(store, order)
    if closed:
        return closed
    command = Record(store, order.job).control().command
    return f"its job is {_OVER[command]}" if command in _OVER else ""


def _closed(store: ObjectStore, order: RoundJob) -> str:
    """How the round, or the evaluation, was closed; empty while it is open."""
    try:
        if order.kind == "train" and Record(store, order.job).spec().schedule.asynchronous:
            return _in_flow(store, order)
        if order.kind in ("init", "train"):
            return _in_manifest(Record(store, order.job).manifest(order.round), order.client)
        key = keys.evaluation(order.job, order.round)
        return _in_evaluation(read_document(Evaluation, store.read(key), key), order)
    except ObjectMissing:
        return ""


def _in_manifest(manifest: Manifest, client: str) -> str:
    where = f"in round {manifest.round}"
    if any(entry.client == client for entry in manifest.entries):
        return f"{client} counted {where} all the same"
    for what, clients in (
        ("failed", manifest.failed),
        ("was rejected", manifest.rejected),
        ("said nothing", manifest.silent),
    ):
        if client in clients:
            return f"{client} {what} {where}: {clients[client]}"
    return f"round {manifest.round} is closed, and {client} had no part in it"


def _in_flow(store: ObjectStore, order: RoundJob) -> str:
    """The same of an asynchronous job: whether the newest plan still has the client out for this."""
    record = Record(store, order.job)
    highest = record.highest_manifest()
    flow = read_flow(record, record.spec(), (highest or 0) + 1)
    ask = flow.out.get(order.client)
    if ask is not None and ask.round == order.round:
        return ""
    return f"{order.client} counted since, or was given up and asked anew"


def _in_evaluation(evaluation: Evaluation, order: RoundJob) -> str:
    missing = evaluation.missing.get(f"{order.kind} {order.client}")
    said = f": {missing}" if missing else ""
    return f"the evaluation of round {evaluation.round} is closed{said}"
