"""The object store as a process sees it: create-once over a dict, with answers that get lost."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from simulation.kernel import Actor, Process
from simulation.world import World

from warren.storage.errors import ObjectDamaged, ObjectMissing, StorageRefused, StorageUnavailable
from warren.storage.objects import DOCUMENT_BYTES_MAX, ObjectInfo

ZOMBIE_SECONDS = 12.0  # between a round's manifest and its checkpoint, another may lead


class Objects:
    """What the store holds. Every change is shown to the eyes before anybody can read it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.bodies: dict[str, bytes] = {}
        self.put_at: dict[str, int] = {}  # the step at which an object came to be
        self.keys: list[str] = []

    def put(self, key: str, body: bytes, actor: Actor | None = None) -> None:
        before = self.bodies.get(key)
        if before is None:
            insort(self.keys, key)
        self.bodies[key] = body
        self.put_at[key] = self.world.kernel.steps
        if self.world.eyes is not None:
            self.world.eyes.put(key, before, body, actor)

    def delete(self, key: str) -> None:
        if key in self.bodies:
            del self.bodies[key]
            self.keys.pop(bisect_left(self.keys, key))
            if self.world.eyes is not None:
                self.world.eyes.deleted(key)

    def lose(self, key: str) -> None:
        """A disk lost it: nobody deleted it."""
        del self.bodies[key]
        self.keys.pop(bisect_left(self.keys, key))

    def under(self, prefix: str, after: str = "") -> list[str]:
        start = max(bisect_left(self.keys, prefix), bisect_right(self.keys, after) if after else 0)
        end = start
        while end < len(self.keys) and self.keys[end].startswith(prefix):
            end += 1
        return self.keys[start:end]


class StorePort:
    """Implements `storage.objects.ObjectStore` for one process."""

    def __init__(self, objects: Objects, process: Process) -> None:
        self._objects = objects
        self._process = process
        self._world = objects.world
        self._kernel = objects.world.kernel

    def create(
        self,
        key: str,
        body: bytes | Path,
        *,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        given: bool = False,
    ) -> bool:
        content = body.read_bytes() if isinstance(body, Path) else body
        self._ask("create", key)
        made = self.create_once(key, content)
        if "/plans/" in key and self._kernel.current is not None:
            self._kernel.current.round = _round_of(key)
        if "/rounds/" in key and self._world.hit("freeze-when-frozen"):
            self._kernel.freeze(self._process, self._world.chance.random() * ZOMBIE_SECONDS)
        self._answer()
        return made

    def create_once(self, key: str, content: bytes) -> bool:
        """Of many creators one wins."""
        if key in self._objects.bodies:
            return False
        self._objects.put(key, content, self._kernel.current)
        return True

    def replace(
        self,
        key: str,
        body: bytes | Path,
        *,
        tag: str | None,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
    ) -> bool:
        content = body.read_bytes() if isinstance(body, Path) else body
        self._ask("replace", key)
        there = self._objects.bodies.get(key)
        if (there is None) != (tag is None) or (there is not None and str(hash_of(there)) != tag):
            return False
        self._objects.put(key, content, self._kernel.current)
        self._answer()
        return True

    def read(self, key: str, *, limit: int = DOCUMENT_BYTES_MAX) -> bytes:
        self._ask("read", key)
        body = self._objects.bodies.get(key)
        if body is None:
            raise ObjectMissing(f"{key} is not in the store")
        if len(body) > limit:
            raise ObjectDamaged(f"{key} has {len(body)} bytes, over the limit of {limit}")
        return body

    def read_range(self, key: str, start: int, length: int) -> bytes:
        return self.read(key)[start : start + length]

    def fetch(self, key: str, path: Path, *, limit: int) -> int:
        body = self.read(key, limit=limit)
        path.write_bytes(body)
        return len(body)

    def local_path(self, key: str) -> Path | None:
        return None

    def stat(self, key: str) -> ObjectInfo | None:
        self._ask("stat", key)
        if "/rounds/" in key and self._kernel.current is not None:
            self._kernel.current.saw_manifest = self._kernel.steps
        body = self._objects.bodies.get(key)
        return None if body is None else ObjectInfo(key, len(body), str(hash_of(body)))

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        self._ask("list", prefix)
        actor = self._kernel.current
        if actor is not None:
            if prefix.endswith("/control/"):
                actor.saw_control = self._kernel.steps
            elif "/plans/" in prefix:
                actor.round = _round_of(prefix)
        bodies = self._objects.bodies
        found = self._objects.under(prefix, after)
        return iter([ObjectInfo(key, len(bodies[key]), str(hash_of(bodies[key]))) for key in found])

    def folders(self, prefix: str) -> Iterator[str]:
        self._ask("folders", prefix)
        names = {
            key[len(prefix) :].partition("/")[0] for key in self._objects.under(prefix) if "/" in key[len(prefix) :]
        }
        return iter(sorted(names))

    def delete(self, key: str) -> None:
        self._ask("delete", key)
        self._objects.delete(key)
        self._answer()

    def delete_all(self, keys: Sequence[str]) -> None:
        for key in keys:  # as when its one request breaks off midway
            self.delete(key)

    def close(self) -> None:
        pass

    def _ask(self, verb: str, key: str) -> None:
        self._kernel.point(self._process, verb, key)
        if "store" in self._world.down or self._world.hit("store-flake"):
            self._kernel.note("store: no answer")
            if self._world.chance.random() < 0.1:
                raise StorageRefused("the store says no")
            raise StorageUnavailable("the store does not answer")

    def _answer(self) -> None:
        """The effect is there; its answer may not be, and the process may die before it hears it."""
        if self._world.hit("store-lost-answer"):
            self._kernel.note("store: done, but its answer is lost")
            raise StorageUnavailable("the store's answer was lost")


def _round_of(plan: str) -> int:
    return int(plan.rpartition("/")[2][:5])


def hash_of(body: bytes) -> int:
    return len(body) * 1_000_003 + sum(body)  # a tag: not hash(), which differs between processes
