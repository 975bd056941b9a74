"""What each client kept with its last update that counted: the leader names it in round jobs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ..storage import keys
from ..storage.documents import Base, Manifest
from ..storage.job import JobSpec
from ..storage.keys import UpdateName
from ..storage.objects import ObjectStore
from ..storage.rules import kept_at_site, rule_of
from .ports import UpdateRejected
from .record import Record

ROUNDS_KNOWN = 4  # states of a client, of the last rounds that it counted in: evaluations ask for a round's


@dataclass(frozen=True, slots=True)
class InForce:
    """A client's state, and the round from which on it is in force."""

    round: int
    client: str
    attempt: str
    base: Base


class ClientStates:
    """The states of one job, as the manifests have them. Empty for a job whose clients keep nothing."""

    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec
        self._keeps = rule_of(spec).keeps != "nothing"
        self._known: dict[str, deque[InForce]] = {}  # the newest last

    def resume(self, read: Callable[[int], list[InForce]], highest: int) -> None:
        """Read the rounds back, from the highest, until every client's state is found or no round is left.

        Args:
            read: `states_in` a round; may wait for the store.
        """
        if not self._keeps:
            return
        self._known = {}
        number, left = highest, set(self._spec.client_names)
        while number >= 0 and (left or number > highest - ROUNDS_KNOWN):
            for state in read(number):
                self._add_older(state)
                left.discard(state.client)
            number -= 1

    def note(self, manifest: Manifest) -> None:
        """A round is committed: its updates' states are in force."""
        if self._keeps:
            for state in states_of(manifest):
                self._of(state.client).append(state)

    def of(self, client: str, round_number: int) -> Base | None:
        """What the client kept last, as of the checkpoint of this round; None where it never kept anything."""
        for state in reversed(self._known.get(client, ())):
            if state.round <= round_number:
                return state.base
        return None

    def newest(self) -> list[InForce]:
        """The last state of every client that has one, in client order."""
        return [known[-1] for _, known in sorted(self._known.items())]

    def _of(self, client: str) -> deque[InForce]:
        return self._known.setdefault(client, deque(maxlen=ROUNDS_KNOWN))

    def _add_older(self, state: InForce) -> None:
        known = self._of(state.client)
        if len(known) < ROUNDS_KNOWN:
            known.appendleft(state)


def states_in(store: ObjectStore, record: Record, number: int) -> list[InForce]:
    """The states that came into force with a frozen round."""
    manifest = record.manifest(number)
    return states_of(manifest) or copied(store, manifest)


def states_of(manifest: Manifest) -> list[InForce]:
    """The states that a round's counted updates imply."""
    return [
        InForce(
            manifest.round,
            entry.client,
            entry.attempt,
            Base(
                key=keys.client_state(manifest.job, entry.client, manifest.round, entry.attempt),
                digest=entry.state,
                size=entry.state_bytes,
            ),
        )
        for entry in manifest.entries
        if entry.state is not None
    ]


def copied(store: ObjectStore, manifest: Manifest) -> list[InForce]:
    """The states that a fork copied, by its manifest 0, which names their digests."""
    digests = {
        name.removeprefix("client "): digest
        for name, digest in manifest.forked_from.items()
        if name.startswith("client ")
    }
    if not digests:
        return []
    found = []
    for info in store.list(keys.client_states(manifest.job)):
        name = keys.read_client_state(info.key)
        if name is not None and name.round == 0 and name.client in digests:
            base = Base(key=info.key, digest=digests[name.client], size=info.size)
            found.append(InForce(0, name.client, name.attempt, base))
    return found


def in_force(store: ObjectStore, record: Record, number: int) -> list[InForce]:
    """Every client's state as of a round, in client order; the objects themselves may be gone."""
    states = ClientStates(record.spec())
    states.resume(lambda n: states_in(store, record, n), number)
    return states.newest()


def check_kept(store: ObjectStore, spec: JobSpec, name: UpdateName, state: str | None, size: int) -> None:
    """What the client keeps is stored before its update, unless it stays at a site. Raises UpdateRejected."""
    if state is None or kept_at_site(spec):
        return
    there = store.stat(keys.client_state(name.job, name.client, name.round, name.attempt))
    if there is None or there.size != size:
        raise UpdateRejected("what the client keeps with it is not in the store as the update says")
