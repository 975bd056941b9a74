"""Watches a job through the store, and holds it to what must be so at any moment."""

from __future__ import annotations

from blake3 import blake3

from warren.storage import keys
from warren.storage.documents import Manifest, Plan, read_document
from warren.storage.objects import OBJECT_BYTES_MAX, ObjectStore

CREATE_ONCE = (
    "control/",
    "plans/",
    "rounds/",
    "checkpoints/",
    "evaluations/",
    "task/",
    "job.json",
    "final.safetensors",
)


class Broken(AssertionError):
    """A promise was broken; the words say which, and where."""


class Watch:
    """One job. `look` as often as wished, `check` at the end."""

    def __init__(self, store: ObjectStore, job: str) -> None:
        self._store = store
        self._job = job
        self._seen: dict[str, str] = {}  # create-once key -> tag

    def look(self) -> None:
        """Compare what is there with what was. Raises Broken, StorageError."""
        prefix = keys.job_prefix(self._job)
        there = {i.key: i.tag for i in self._store.list(prefix) if i.key.removeprefix(prefix).startswith(CREATE_ONCE)}
        for key, tag in self._seen.items():
            if there.get(key) != tag:
                raise Broken(f"{key} {'changed' if key in there else 'is gone'}: it was committed")
        self._seen.update(there)
        self._every_lower_round_is_committed(there)

    def _every_lower_round_is_committed(self, there: dict[str, str]) -> None:
        frozen = sorted(key for key in there if key.startswith(keys.manifests(self._job)))
        for number, key in enumerate(frozen):
            if key != keys.manifest(self._job, number):
                raise Broken(f"{key} stands where the manifest of round {number} should")
        for number in range(len(frozen) - 1):
            if keys.checkpoint(self._job, number) not in there:
                raise Broken(f"round {number} has no checkpoint, though round {number + 1} is frozen")

    def manifest(self, number: int) -> Manifest:
        key = keys.manifest(self._job, number)
        return read_document(Manifest, self._store.read(key), key)

    def checkpoint(self, number: int) -> bytes:
        return self._store.read(keys.checkpoint(self._job, number), limit=OBJECT_BYTES_MAX)

    def check(self, rounds: int) -> list[Manifest]:
        """All rounds are whole, and each client counts once in each. Returns their manifests."""
        self.look()
        return [self._checked(number) for number in range(rounds + 1)]

    def digests(self, rounds: int) -> list[str]:
        """Of the bytes of each checkpoint, from round 0."""
        return [blake3(self.checkpoint(number)).hexdigest() for number in range(rounds + 1)]

    def _checked(self, number: int) -> Manifest:
        manifest = self.manifest(number)
        counted = [entry.client for entry in manifest.entries]
        asked = self._asked(number)
        if len(set(counted)) != len(counted):
            raise Broken(f"round {number} counts a client twice: {counted}")
        if counted != sorted(counted) or not set(counted) <= asked:
            raise Broken(f"round {number} counts {counted}, asked {sorted(asked)}")
        if len(counted) < manifest.quorum:
            raise Broken(f"round {number} closed with {len(counted)}, quorum {manifest.quorum}")
        if self._store.stat(keys.checkpoint(self._job, number)) is None:
            raise Broken(f"round {number} has no checkpoint")
        return manifest

    def _asked(self, number: int) -> set[str]:
        last = max(info.key for info in self._store.list(keys.plans(self._job, number)))
        return set(read_document(Plan, self._store.read(last), last).clients)
