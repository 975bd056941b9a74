"""Whether two jobs came to the same bytes, round by round; and where they part, what differed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from blake3 import blake3

from ..storage import keys
from ..storage.documents import Manifest
from ..storage.errors import ObjectMissing
from ..storage.objects import ObjectStore
from .record import Record

FACTS = ("warren", "torch", "cpu", "threads")  # of trainers, that bytes depend on
BLOCK_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Comparison:
    """One round of two jobs; `gone`: one of the checkpoints is not stored."""

    round: int
    state: Literal["same", "differs", "gone"]
    reason: str = ""


def compare(store: ObjectStore, one: str, other: str) -> Iterator[Comparison]:
    """The rounds that both jobs have, in order."""
    records = Record(store, one), Record(store, other)
    last = min(-1 if highest is None else highest for highest in (record.highest_manifest() for record in records))
    for number in range(last + 1):
        digests = [checkpoint_digest(store, record.job, number) for record in records]
        if None in digests:
            yield Comparison(number, "gone", "a checkpoint is gone, or not written yet")
        elif digests[0] == digests[1]:
            yield Comparison(number, "same")
        else:
            manifests = [record.manifest(number) for record in records]
            yield Comparison(number, "differs", _why(manifests[0], manifests[1]))


def checkpoint_digest(store: ObjectStore, job: str, number: int) -> str | None:
    """The digest of a round's checkpoint; None where there is none."""
    key = keys.checkpoint(job, number)
    info = store.stat(key)
    if info is None:
        return None
    hasher = blake3()
    try:
        for at in range(0, info.size, BLOCK_BYTES):
            hasher.update(store.read_range(key, at, BLOCK_BYTES))
    except ObjectMissing:
        return None
    return hasher.hexdigest()


def facts_of(manifests: Iterable[Manifest]) -> dict[str, tuple[str, ...]]:
    """What the updates that count were made with: each fact's values, sorted."""
    found: dict[str, set[str]] = {name: set() for name in FACTS}
    for manifest in manifests:
        found["warren"] |= {manifest.versions["warren"]} if "warren" in manifest.versions else set()
        for entry in manifest.entries:
            for name in FACTS:
                if name in entry.facts:
                    found[name].add(entry.facts[name])
    return {name: tuple(sorted(values)) for name, values in found.items() if values}


def _why(one: Manifest, other: Manifest) -> str:
    """What is known to differ: who counted, or what with."""
    clients = {entry.client for entry in one.entries} ^ {entry.client for entry in other.entries}
    if clients:
        return f"other clients counted: {', '.join(sorted(clients)[:5])}"
    facts = facts_of([one]), facts_of([other])
    for name in FACTS:
        values = [", ".join(found.get(name, ("unknown",))) for found in facts]
        if values[0] != values[1]:
            return f"{name}: {values[0]} there, {values[1]} here"
    return "the same clients counted"
