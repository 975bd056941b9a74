"""What an asynchronous job no longer needs: updates that counted long ago or never will, and no start of anybody's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...storage import keys
from ...storage.documents import Manifest
from ...storage.errors import ObjectMissing
from ...storage.job import JobSpec
from ...storage.objects import ObjectInfo, ObjectStore
from ..record import Record
from .standing import read_flow


@dataclass(frozen=True, slots=True)
class Needed:
    """What may not go once version `last` is committed."""

    last: int
    out: dict[str, int]  # client -> the round of its ask that may still count
    counted: frozenset[tuple[str, str, int]]  # client, attempt, round: of the versions whose updates are kept

    @property
    def bases(self) -> frozenset[int]:
        """Versions that somebody may still start from."""
        return frozenset(number - 1 for number in self.out.values())

    def why_not(self, name: keys.UpdateName) -> str | None:
        """Why this update may go; None where it may not.

        Asks of the round `last` itself may be in a plan that was made since this one was read: they stay.
        """
        if (name.client, name.attempt, name.round) in self.counted:
            return None
        if name.round >= self.last or self.out.get(name.client) == name.round:
            return None
        return "it counts in no version whose updates are kept, and in none to come"


def needed(store: ObjectStore, spec: JobSpec, last: int) -> Needed:
    """Read what an asynchronous job still needs. Raises ObjectMissing, ObjectDamaged."""
    record = Record(store, spec.job)
    flow = read_flow(record, spec, last + 1)
    kept = [record.manifest(number) for number in range(max(0, last - spec.keep_updates + 1), last + 1)]
    return Needed(
        last,
        {client: ask.round for client, ask in flow.out.items()},
        frozenset((e.client, e.attempt, manifest.round_of(e)) for manifest in kept for e in manifest.entries),
    )


def flow_waste(store: ObjectStore, spec: JobSpec, keep: Needed) -> Iterator[tuple[ObjectInfo, str]]:
    """Each update that may go, and why."""
    for info in store.list(keys.updates(spec.job)):
        reasons = [keep.why_not(name) for name in keys.read_updates(info.key)] or ["not an update of any round"]
        if None not in reasons:
            yield info, str(reasons[0])


def counted_in(store: ObjectStore, spec: JobSpec, number: int) -> Iterator[str]:
    """The keys of the updates that counted in a version: what its commit's turn to be forgotten takes along.

    Not of parcels: another member of one may still be needed, which `flow_waste` looks at.
    """
    try:
        manifest: Manifest = Record(store, spec.job).manifest(number)
    except ObjectMissing:
        return
    for entry in manifest.entries:
        if entry.parcel is None:
            yield keys.update(spec.job, manifest.round_of(entry), entry.source, entry.client, entry.attempt)
