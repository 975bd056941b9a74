"""What the simulation must catch of what clients keep: each promise broken on purpose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from simulation.fake_bytes import digest, read_update_bytes
from simulation.fake_work import FakeNumbers, entry_of

from warren.aggregator import collecting
from warren.aggregator.client_states import ClientStates
from warren.storage import keys
from warren.storage.documents import Base, Entry
from warren.storage.job import JobSpec
from warren.storage.keys import UpdateName
from warren.storage.rules import rule_of
from warren.trainer.states import States

Patch = tuple[Any, str, Any]


def states_of_updates_that_counted() -> Sequence[Patch]:
    """A trainer starts from the newest state that it finds, whether or not its update counted."""

    def path(self: States, job: Any, spec: JobSpec) -> Any:
        if rule_of(spec).keeps == "nothing":
            return None
        found = [info.key for info in self._store.list(keys.client_states(job.job, job.client))]
        body = self._store.read(found[-1]) if found else b""
        return self._fetched.named(found[-1], digest(body), len(body)) if found else None

    return [(States, "path", path)]


def states_known_to_a_new_leader() -> Sequence[Patch]:
    return [(ClientStates, "resume", lambda self, read, highest: None)]


def states_before_updates() -> Sequence[Patch]:
    """An update is stored first, and what its client keeps never."""
    return [
        (States, "keep", lambda self, job, spec, attempt, path: None),
        (FakeNumbers, "examine", _without_states(FakeNumbers.examine)),
    ]


def _without_states(examine: Any) -> Any:
    def examined(
        self: FakeNumbers, name: UpdateName, spec: JobSpec, base: Base | None, claimed: str | None, size: int = 0
    ) -> Entry:
        found = read_update_bytes(self.store.read(name.place))
        if found is None or not found.state:
            return examine(self, name, spec, base, claimed)  # type: ignore[no-any-return]
        return entry_of(name, self.store.read(name.place), found.examples, found.state)

    return examined


def states_outlive_their_rounds() -> Sequence[Patch]:
    """The collector takes whatever clients kept in a committed round."""

    def outdated(store: Any, spec: JobSpec, *rounds: int | None) -> Iterator[str]:
        yield from (info.key for info in store.list(keys.client_states(spec.job)) if any(rounds))

    return [(collecting, "outdated", outdated)]
