"""What must hold of what clients keep: it follows from their last update that counted, and from no other."""

from __future__ import annotations

from typing import Any

from simulation.fake_bytes import digest, read_update_bytes
from simulation.fake_store import Objects
from simulation.world import World

from warren.storage import keys
from warren.storage.job import JobSpec
from warren.storage.keys import UpdateName
from warren.storage.rules import rule_of


class Keeping:
    """Remembers every state that ever was, and which were in force since when."""

    def __init__(self, world: World, objects: Objects) -> None:
        self._world = world
        self._objects = objects
        self._fail = world.kernel.fail
        self._states: dict[str, bytes] = {}
        self._in_force: dict[tuple[str, str], list[tuple[int, str]]] = {}  # (job, client) -> (round, key), in order

    def put(self, key: str, body: bytes) -> None:
        self._states[key] = body

    def counted(self, spec: JobSpec, number: int, entry: dict[str, Any]) -> None:
        """An update is frozen: its state is there, and was made from what its client kept last."""
        if rule_of(spec).keeps == "nothing" or number == 0:
            return
        client, key = entry["client"], keys.client_state(spec.job, entry["client"], number, entry["attempt"])
        name = UpdateName(spec.job, number, entry["source"], client, entry["attempt"])
        update = read_update_bytes(self._objects.bodies.get(name.place, b""))
        if key not in self._objects.bodies:
            self._fail(f"round {number} counts {client} {entry['attempt']}, and what it keeps is not in the store")
            return
        state = self._states[key]
        if update is not None and not digest(state) == update.state == entry["state"]:
            self._fail(f"round {number} counts {client} with a state that is not its update's")
        past = self._in_force.setdefault((spec.job, client), [])
        expected = digest(self._states[past[-1][1]]) if past else ""
        made_from = state.decode().partition("|")[0]
        if made_from != expected:
            self._fail(f"{client} in round {number} started from a state that is not that of its last update in force")
        past.append((number, key))

    def deleted(self, key: str, committed: int) -> None:
        """Only what no kept round started from goes, and what did not count."""
        job, found = key.split("/")[1], keys.read_client_state(key)
        assert found is not None
        past = self._in_force.get((job, found.client), [])
        if found.round > committed:
            self._fail(f"{key} was deleted, and its round is not committed")
        since = committed - self._world.specs[job].keep_updates
        needed = {state for number, state in past if number > since}
        needed |= {state for _, state in [one for one in past if one[0] <= since][-1:]}
        if key in needed:
            self._fail(f"{key} was deleted, and a round may start from it")
