"""Peers that send rubbish: it is named and set aside, and the round goes on."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import msgpack
import pytest
import torch
from services.fleet import Fleet
from services.tasks import write_job

from warren.broker.messages import Completion, RoundJob, decode, encode
from warren.broker.ports import Delivery, Outgoing
from warren.broker.rabbit import RabbitBroker
from warren.broker.topology import DEAD_LETTERS, rounds_queue
from warren.storage import keys
from warren.storage.digests import digest_file
from warren.storage.tensors import read_header
from warren.storage.torch_tensors import map_file, save

pytestmark = pytest.mark.services
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def broker(fleet: Fleet) -> Iterator[RabbitBroker]:
    with contextlib.closing(RabbitBroker(fleet.url, name="hostile")) as made:
        yield made


@pytest.fixture(scope="module")
def staffed(fleet: Fleet) -> Fleet:
    """An aggregator, and the trainer of an honest site."""
    fleet.start(
        fleet.add("aggregator", "leader", start=False), fleet.add("trainer", "honest", "--site", "honest", start=False)
    )
    return fleet


def with_nan(tensors: Tensors) -> Tensors:
    first = min(tensors)
    return {**tensors, first: torch.full_like(tensors[first], float("nan"))}


def with_another_name(tensors: Tensors) -> Tensors:
    first = min(tensors)
    return {("another" if name == first else name): tensor for name, tensor in tensors.items()}


def with_another_shape(tensors: Tensors) -> Tensors:
    first = min(tensors)
    return {**tensors, first: torch.zeros(2, 2)}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def swollen(path: Path) -> None:
    with path.open("ab") as file:
        file.truncate(path.stat().st_size + (8 << 20))


def honest(tensors: Tensors) -> Tensors:
    return dict(tensors)


def untouched(_: Path) -> None:
    return


@pytest.mark.parametrize(
    ("tensors", "spoil", "examples", "words"),
    [
        (with_nan, untouched, "10", "NaN"),
        (with_another_name, untouched, "10", "0.bias"),
        (with_another_shape, untouched, "10", "[2, 2]"),
        (honest, cut, "10", ""),
        (honest, swollen, "10", "bytes"),
        (honest, untouched, "99999999999999999", "examples"),
    ],
)
def test_a_bad_update_is_rejected_by_name_and_the_round_goes_on(
    staffed: Fleet,
    broker: RabbitBroker,
    tmp_path: Path,
    tensors: Callable[[Tensors], Tensors],
    spoil: Callable[[Path], None],
    examples: str,
    words: str,
) -> None:
    villain = f"villain-{secrets.token_hex(3)}"
    broker.declare([rounds_queue(f"site.{villain}")])
    with contextlib.closing(broker.consume([rounds_queue(f"site.{villain}")])) as consumer:
        job = staffed.submit(write_job(tmp_path, sites=["honest", villain], rounds=1, quorum=1, evaluate={"every": 0}))
        ordered = taken(staffed, consumer.take)
        while ordered.kind == "init":  # both sites are asked for the first model; the honest one's counts
            ordered = taken(staffed, consumer.take)
        announce(staffed, ordered, tmp_path, tensors, spoil, examples)
        staffed.finished(job)
    manifest = staffed.watch(job).check(1)[1]
    assert [entry.client for entry in manifest.entries] == ["honest"]
    assert words in manifest.rejected[villain]


def taken(fleet: Fleet, take: Callable[[float], Delivery | None]) -> RoundJob:
    delivery = take(60.0)
    assert delivery is not None, f"no round job came\n{fleet.log_tails()}"
    delivery.ack()
    return decode(delivery.body, RoundJob)


def announce(
    fleet: Fleet,
    ordered: RoundJob,
    folder: Path,
    change: Callable[[Tensors], Tensors],
    spoil: Callable[[Path], None],
    examples: str,
) -> None:
    """Put an update of the base's own weights, spoilt, and tell of it as a trainer would."""
    assert ordered.base is not None
    base, update = folder / "base.safetensors", folder / "update.safetensors"
    fleet.store.fetch(ordered.base, base, limit=ordered.base_bytes)
    layout = read_header(base).metadata
    said = {
        "warren": "1",
        "job": ordered.job,
        "round": str(ordered.round),
        "kind": ordered.kind,
        "client": ordered.client,
        "attempt": "bad",
        "examples": examples,
        "metrics": "{}",
        "trainable": layout["trainable"],
        "tied": layout["tied"],
    }
    save(update, change(map_file(base)), said)
    spoil(update)
    fleet.store.create(keys.update(ordered.job, ordered.round, ordered.source, ordered.client, "bad"), update)
    told = Completion(
        job=ordered.job,
        round=ordered.round,
        kind=ordered.kind,
        client=ordered.client,
        attempt="bad",
        outcome="updated",
        digest=digest_file(update),
        size=update.stat().st_size,
    )
    fleet.news.append(told, ordered.source)


def newer() -> bytes:
    body: bytes = msgpack.packb({"type": "round-job", "version": 999})
    return body


def of_no_job() -> bytes:
    return encode(RoundJob(job="nobodys-job", round=1, kind="train", client="honest", source="site.honest"))


@pytest.mark.parametrize(
    ("body", "words"),
    [(b"\xc1 rubbish", "not msgpack"), (newer(), "version 999"), (of_no_job(), "unknown job: nobodys-job")],
)
def test_a_message_that_nobody_can_serve_lies_in_the_dead_letters_with_its_reason(
    staffed: Fleet, broker: RabbitBroker, body: bytes, words: str
) -> None:
    broker.publish([Outgoing(rounds_queue("site.honest"), body, {"job": "nobodys-job"})])
    with contextlib.closing(broker.consume([DEAD_LETTERS])) as consumer:
        delivery = consumer.take(60.0)
        assert delivery is not None, f"no dead letter came\n{staffed.log_tails()}"
        delivery.ack()
    assert delivery.body == body
    assert words in delivery.headers["reason"]
