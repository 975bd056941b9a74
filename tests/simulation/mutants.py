"""What the simulation must catch: each promise broken on purpose, one at a time. `python -m simulation.mutants`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from simulation.fake_bytes import read_update_bytes
from simulation.fake_store import StorePort
from simulation.fake_work import FakeNumbers, entry_of, named
from simulation.flow_mutants import FLOW_MUTANTS
from simulation.mutants_of_states import (
    Patch,
    states_before_updates,
    states_known_to_a_new_leader,
    states_of_updates_that_counted,
    states_outlive_their_rounds,
)
from simulation.mutants_of_trainers import (
    acknowledged_last,
    told_before_acknowledged,
    updates_have_files_of_their_own,
)
from simulation.play import play

from warren.aggregator import collecting, retention, round
from warren.aggregator.carrying import Carrier
from warren.aggregator.events import Answers, Freeze, Look, Round, Step
from warren.aggregator.receipts import Claim, Receipts
from warren.aggregator.record import ENDS, JSON, Record, control_state
from warren.storage import keys
from warren.storage.documents import Base, Control, Entry, Manifest, write_document
from warren.storage.job import JobSpec
from warren.storage.keys import UpdateName

SEEDS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Mutant:
    """One broken promise: its name, and what is put in place of what."""

    name: str
    patches: Callable[[], Sequence[Patch]]
    flows: bool = False  # of asynchronous jobs


@contextmanager
def broken(mutant: Mutant) -> Iterator[None]:
    """The rooms with this promise broken."""
    patches = mutant.patches()
    before = [getattr(place, name) for place, name, _ in patches]
    for place, name, value in patches:
        setattr(place, name, value)
    try:
        yield
    finally:
        for (place, name, _), value in zip(patches, before, strict=True):
            setattr(place, name, value)


def first_seed(mutant: Mutant, seeds_max: int = SEEDS_MAX) -> tuple[int, str] | None:
    """The first seed that catches it, and what it says; None: it gets away."""
    with broken(mutant):
        for seed in range(seeds_max):
            if violation := play(seed, flows=mutant.flows).violation:
                return seed, violation
    return None


def create_once() -> Sequence[Patch]:
    def create(self: StorePort, key: str, content: bytes) -> bool:
        self._objects.put(key, content, self._kernel.current)
        return True

    return [(StorePort, "create_once", create)]


def deduplication() -> Sequence[Patch]:
    """Every valid attempt of a client is frozen."""
    attempts: dict[int, list[Entry]] = {}
    note = Receipts._note

    def _note(self: Receipts, name: UpdateName, found: Entry | str) -> Any:
        if not isinstance(found, str):
            attempts.setdefault(id(self), []).append(found)
        return note(self, name, found)

    def receive(self: Receipts, claims: Any, more: Any = None) -> Any:
        known, self.entries = self.entries, {}
        try:
            return received(self, claims, more)
        finally:
            self.entries = {**self.entries, **known}

    def freeze(self: Record, manifest: Manifest) -> Manifest:
        clients = {entry.client for entry in manifest.entries}
        every = [
            entry
            for entries in attempts.values()
            for entry in entries
            if entry.client in clients
            and keys.split_place(named(manifest.job, manifest.round, entry).place)[0] in self.store._objects.bodies  # type: ignore[attr-defined]
        ]
        unique = {(entry.client, entry.attempt): entry for entry in every}
        return frozen(self, manifest.model_copy(update={"entries": tuple(unique[at] for at in sorted(unique))}))

    received, frozen = Receipts.receive, Record.freeze
    return [(Receipts, "_note", _note), (Receipts, "receive", receive), (Record, "freeze", freeze)]


def validation_before_freeze() -> Sequence[Patch]:
    def examine(
        self: FakeNumbers, name: UpdateName, spec: JobSpec, base: Base | None, claimed: str | None, size: int = 0
    ) -> Entry:
        body = self._read(name)
        found = read_update_bytes(body)
        return entry_of(name, body, 1 if found is None else found.examples)

    return [(FakeNumbers, "examine", examine)]


def listing_before_a_deadline() -> Sequence[Patch]:
    def consider(state: Round, now: float) -> Step:
        cause = round.cause_to_act(state, now)
        if cause is None:
            return Step(state)
        return Step(replace(state, phase="looking", looked_at_store=True), (Look(store=False),), cause)

    return [(round, "consider", consider)]


def parcels_are_listed() -> Sequence[Patch]:
    """A look at the store overlooks the updates that lie together in one object."""

    def from_store(self: Receipts) -> Any:
        found = self.house.store.list(keys.updates(self.spec.job, self.round))
        names = (keys.read_update(info.key) for info in found)
        return self.receive([Claim(name) for name in names if name is not None])

    return [(Receipts, "from_store", from_store)]


def canonical_order() -> Sequence[Patch]:
    def freeze(state: Round, cause: str) -> Step:
        arrived = tuple(list(state.valid)[: state.rules.wanted])
        return Step(replace(state, phase="looking"), (Freeze(arrived, cause),), cause)

    return [(round, "freeze", freeze)]


def control_before_freeze() -> Sequence[Patch]:
    consider = round.consider

    def hasty(state: Round, now: float) -> Step:
        if round.cause_to_act(state, now) in ("complete", "all answered"):
            return round.close(state, now)
        return consider(state, now)

    return [(round, "consider", hasty)]


def control_obeyed() -> Sequence[Patch]:
    return [(round, "obey", lambda state, control: None)]


def quorum() -> Sequence[Patch]:
    def close(state: Round, now: float) -> Step:
        cause = round.cause_to_act(state, now)
        return round.freeze(state, cause) if cause and state.valid else closed(state, now)

    closed = round.close
    return [(round, "close", close)]


def winner_read_back() -> Sequence[Patch]:
    """Who loses the freeze goes on with its own manifest."""

    def freeze(self: Record, manifest: Manifest) -> Manifest:
        self.store.create(keys.manifest(self.job, manifest.round), write_document(manifest), content_type=JSON)
        return manifest

    return [(Record, "freeze", freeze)]


def ends_are_final() -> Sequence[Patch]:
    def command(self: Record, control: Control) -> Any:
        number = self.control().number + 1
        if self.store.create(keys.control(self.job, number), write_document(control), content_type=JSON):
            self._highest = control_state(control, number)
        return self.control()

    assert ENDS
    return [(Record, "command", command)]


def rejected_attempts_are_set_aside() -> Sequence[Patch]:
    return [(Receipts, "set_aside", lambda self, client: ())]


def updates_outlive_their_round() -> Sequence[Patch]:
    """The collector takes the updates of a round that is under way."""

    def outdated(store: Any, spec: JobSpec, *rounds: int | None) -> Iterator[str]:
        for number in rounds:
            yield from (info.key for info in store.list(keys.updates(spec.job, (number or 0) + 1)))

    return [(collecting, "outdated", outdated)]


def checkpoints_wait_to_be_judged() -> Sequence[Patch]:
    """The collector takes checkpoints that are still to be evaluated (a mistake once made)."""
    return [(retention, "waiting", lambda store, spec, last: frozenset())]


def frozen_round_is_finished() -> Sequence[Patch]:
    """A leader that takes over goes on after the highest manifest, checkpoint or not."""
    return [(Record, "committed", lambda self, number: True)]


def answers_before_disturbances() -> Sequence[Patch]:
    """A look tells only what is new, and what was heard just before it is told after it (a mistake once made)."""

    def settle(self: Any, state: Round, events: Any, carrier: Carrier) -> Round:
        return settled(self, state, sorted(events, key=lambda event: isinstance(event, Answers)), carrier)

    from warren.aggregator.leader import Leader

    settled = Leader._settle
    return [(Leader, "_settle", settle)]


def leases_are_only_for_order() -> Sequence[Patch]:
    """Not a promise of safety: every aggregator leads every job, and nothing may break."""
    from warren.storage.simulated import SimulatedLedger

    def acquire(self: SimulatedLedger, job: str, nonce: str, seconds: float) -> bool:
        return True

    return [(SimulatedLedger, "acquire", acquire)]


MUTANTS = [
    Mutant(make.__name__.replace("_", " "), make)
    for make in (
        create_once,
        deduplication,
        validation_before_freeze,
        listing_before_a_deadline,
        parcels_are_listed,
        canonical_order,
        control_before_freeze,
        control_obeyed,
        quorum,
        winner_read_back,
        ends_are_final,
        acknowledged_last,
        told_before_acknowledged,
        updates_have_files_of_their_own,
        rejected_attempts_are_set_aside,
        updates_outlive_their_round,
        checkpoints_wait_to_be_judged,
        frozen_round_is_finished,
        answers_before_disturbances,
        states_of_updates_that_counted,
        states_known_to_a_new_leader,
        states_before_updates,
        states_outlive_their_rounds,
    )
]
MUTANTS += [Mutant(make.__name__.replace("_", " "), make, flows=True) for make in FLOW_MUTANTS]
HARMLESS = Mutant("leases (safety does not rest on them)", leases_are_only_for_order)


def main() -> int:
    """Try each; say which seed caught it. The status is 1 if one got away."""
    missed = 0
    for mutant in MUTANTS:
        caught = first_seed(mutant)
        missed += caught is None
        said = f"seed {caught[0]:4}: {caught[1][:110]}" if caught else f"NOT CAUGHT in {SEEDS_MAX} seeds"
        print(f"without {mutant.name:34} {said}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
