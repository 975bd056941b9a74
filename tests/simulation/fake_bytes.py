"""Updates and checkpoints in a few bytes: a fold that neither commutes nor associates, so that order shows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from blake3 import blake3

from warren.storage.keys import UpdateName, read_updates

RUBBISH = "nan"


@dataclass(frozen=True, slots=True)
class FakeUpdate:
    """What an update's bytes say. `state`: the digest of what its client keeps, where it keeps anything."""

    job: str
    round: int
    client: str
    attempt: str
    value: str
    examples: int
    state: str = ""


def digest(body: bytes) -> str:
    return blake3(body).hexdigest()


def write_update(update: FakeUpdate) -> bytes:
    said = (update.job, str(update.round), update.client, update.attempt, update.value, str(update.examples))
    text = "|".join((*said, update.state)).encode()
    return text + b"|" + digest(text)[:8].encode()


def read_update_bytes(body: bytes) -> FakeUpdate | None:
    """None: rubbish, or not whole."""
    text, _, check = body.rpartition(b"|")
    if digest(text)[:8].encode() != check:
        return None
    job, number, client, attempt, value, examples, state = text.decode().split("|")
    return None if value == RUBBISH else FakeUpdate(job, int(number), client, attempt, value, int(examples), state)


def valid_update(body: bytes, name: UpdateName) -> FakeUpdate | None:
    """The update, if it is whole and says what its key says."""
    found = read_update_bytes(body)
    said = None if found is None else (found.job, found.round, found.client, found.attempt)
    return found if said == (name.job, name.round, name.client, name.attempt) else None


def updates_in(key: str, body: bytes) -> dict[UpdateName, bytes]:
    """The updates of an object, and the bytes of each: of a parcel as the safetensors that it is."""
    names = read_updates(key)
    if len(names) < 2:
        return dict.fromkeys(names, body)
    start = 8 + int.from_bytes(body[:8], "little")
    fields = json.loads(body[8:start])
    places = {name: fields[f"{name.client}.{name.attempt}"]["data_offsets"] for name in names}
    return {name: body[start + begin : start + end] for name, (begin, end) in places.items()}


def trained_value(seed: int, round_number: int, client: str, base: bytes, salt: str = "") -> str:
    """What training gives: of the initial model nothing depends on the client."""
    who = client if round_number else ""
    return digest(f"{seed}/{round_number}/{who}/{salt}/".encode() + base)[:16]


def next_state(before: bytes, client: str, round_number: int, value: str) -> bytes:
    """What a client keeps: it names what it kept before, and what it has learned since."""
    return f"{digest(before) if before else ''}|{client}|{round_number}|{value}".encode()


def examples_of(client: str) -> int:
    return 1 + sum(client.encode()) % 50


def folded(base: bytes | None, updates: Iterable[FakeUpdate]) -> bytes:
    """The next checkpoint. Of the first model only the value counts, as any client gives it."""
    if base is None:
        return b"W" + next(iter(updates)).value.encode()
    total = base
    for update in updates:
        total = b"W" + digest(total + f"{update.client}{update.value}{update.examples}".encode())[:32].encode()
    return total
