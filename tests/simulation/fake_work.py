"""Training and averaging without tensors: what a client gives, how it fails, and the checkpoint that comes of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from simulation.fake_bytes import (
    RUBBISH,
    FakeUpdate,
    digest,
    examples_of,
    folded,
    next_state,
    read_update_bytes,
    trained_value,
    valid_update,
    write_update,
)
from simulation.fake_store import StorePort
from simulation.kernel import Process
from simulation.world import World

from warren.aggregator.ports import UpdateRejected
from warren.broker.messages import Failure
from warren.storage import keys
from warren.storage.documents import Base, Entry, Manifest
from warren.storage.errors import ObjectDamaged, StorageError
from warren.storage.job import JobSpec
from warren.storage.keys import UpdateName
from warren.storage.parcels import MEMBER_BYTES_MAX, Parcels
from warren.storage.rules import rule_of
from warren.trainer.wire import Crashed, Evaluated, Outcome, Stopped, TaskFailed, Trained, Work

BATCH_SECONDS = 0.5
TRAIN_SECONDS = (0.2, 2.5)
QUICK_SECONDS = (0.001, 0.01)  # short enough for a trainer to bundle
SLOW_SECONDS = 40.0
STATE_BYTES_MAX = 1 << 10


@dataclass(slots=True)
class FakeNumbers:
    """Implements `aggregator.ports.Numbers` over one process's view of the store."""

    store: StorePort
    _prepared: tuple[Manifest | None, bytes] = (None, b"")

    def base(self, job: str, round_number: int) -> Base:
        key = keys.checkpoint(job, round_number)
        body = self.store.read(key)
        return Base(key=key, digest=digest(body), size=len(body))

    def server(self, job: str, round_number: int) -> Base | None:
        return None

    def examine(self, name: UpdateName, spec: JobSpec, base: Base | None, claimed: str | None, size: int = 0) -> Entry:
        body = self._read(name)
        found = valid_update(body, name)
        if found is None:
            raise UpdateRejected("rubbish" if read_update_bytes(body) is None else "it says it is another")
        if claimed is not None and claimed != digest(body):
            raise UpdateRejected("its digest is not the announced one")
        if found.state and self.store.stat(keys.client_state(name.job, name.client, name.round, name.attempt)) is None:
            raise UpdateRejected("what its client keeps is not there")
        return entry_of(name, body, found.examples, found.state)

    def offer(self, spec: JobSpec, round_number: int, entry: Entry, order: tuple[str, ...]) -> None:
        pass

    def prepare(self, spec: JobSpec, manifest: Manifest) -> None:
        with contextlib.suppress(StorageError):
            self._prepared = manifest, self._folded(manifest)

    def made(self, spec: JobSpec, manifest: Manifest) -> tuple[Base, Base | None] | None:
        before, body = self._prepared
        if before is not manifest:
            return None
        return Base(key=keys.checkpoint(manifest.job, manifest.round), digest=digest(body), size=len(body)), None

    def write(self, spec: JobSpec, manifest: Manifest) -> None:
        self.store.create(keys.checkpoint(manifest.job, manifest.round), self._folded(manifest))

    def _folded(self, manifest: Manifest) -> bytes:
        base = None if manifest.base is None else self.store.read(manifest.base.key)
        if base is not None and manifest.base is not None and digest(base) != manifest.base.digest:
            raise ObjectDamaged(f"{manifest.base.key} is not what the round started from")
        return folded(base, [self._update(manifest, entry) for entry in manifest.entries])

    def copy(self, key: str, to: str, *, tag: str | None, metadata: Mapping[str, str]) -> bool:
        body = self.store.read(key)
        return self.store.create(to, body) if tag is None else self.store.replace(to, body, tag=tag)

    def forget(self, job: str) -> None:
        pass

    def _update(self, manifest: Manifest, entry: Entry) -> FakeUpdate:
        name = named(manifest.job, manifest.round_of(entry), entry)
        body = self._read(name)
        found = read_update_bytes(body)
        if digest(body) != entry.digest or found is None:
            raise ObjectDamaged(f"{name.place} is not what was frozen")
        return found

    def _read(self, name: UpdateName) -> bytes:
        if name.parcel:
            return bytes(Parcels(self.store).read(name.place, MEMBER_BYTES_MAX))
        return self.store.read(name.place)


def named(job: str, asked_in: int, entry: Entry) -> UpdateName:
    return UpdateName(job, asked_in, entry.source, entry.client, entry.attempt, entry.parcel or "")


def entry_of(name: UpdateName, body: bytes, examples: int, state: str = "") -> Entry:
    return Entry(
        client=name.client,
        source=name.source,
        attempt=name.attempt,
        digest=digest(body),
        size=len(body),
        examples=examples,
        state=state or None,
        state_bytes=STATE_BYTES_MAX if state else 0,
        parcel=name.parcel or None,
    )


@dataclass(slots=True)
class FakeTraining:
    """Implements `trainer.ports.Training`: the process that trains, and the ways in which it doesn't."""

    world: World
    process: Process
    poisoned: frozenset[str]  # clients whose data kills whoever trains on it, while the storm lasts
    quick: bool = False  # whether works are very short

    def begin(self, work: Work) -> None:
        pass

    def run(self, work: Work, keep_going: Callable[[], bool]) -> Outcome:
        world = self.world
        if world.storm and work.client in self.poisoned and work.kind == "train":
            world.kernel.crash(self.process)
        if not self._takes_its_time(keep_going):
            return Stopped()
        if world.hit("child-dies"):
            return Crashed("signal 9")
        if world.hit("task-fails"):
            return TaskFailed(Failure(error="ValueError", file="task.py", line=7), "Traceback ...")
        if work.kind in ("evaluate", "test"):
            return Evaluated(examples_of(work.client), evaluation_of(work.client, _base(work)))
        return self._train(work)

    def close(self) -> None:
        pass

    def _takes_its_time(self, keep_going: Callable[[], bool]) -> bool:
        least, most = QUICK_SECONDS if self.quick else TRAIN_SECONDS
        left = least + (most - least) * self.world.chance.random()
        if self.world.hit("slow"):
            left += SLOW_SECONDS * self.world.chance.random()
        while left > 0:
            self.world.kernel.block(min(left, BATCH_SECONDS))
            left -= BATCH_SECONDS
            if self.quick and left <= 0:
                break  # a real process asks only now and then
            if not keep_going():
                return False
        return True

    def _train(self, work: Work) -> Outcome:
        world, base = self.world, _base(work)
        salt = work.attempt if world.rates["different-bytes"] else ""
        kept = b"" if work.state_path is None else work.state_path.read_bytes()
        value = trained_value(work.spec.seed, work.job_round, work.client, base + kept, salt)
        state = self._keep(work, kept, value)
        digested = digest(state[0].read_bytes()) if state else ""
        update = FakeUpdate(
            work.spec.job, work.job_round, work.client, work.attempt, value, examples_of(work.client), digested
        )
        body = write_update(self._spoilt(update))
        claimed = digest(body)
        if world.hit("wrong-digest"):
            claimed = digest(b"other bytes")
            world.misannounced.add(work.attempt)
        inline = state is None and len(body) <= work.inline
        if not inline:
            work.output_path.parent.mkdir(parents=True, exist_ok=True)
            work.output_path.write_bytes(body)
        return Trained(work.output_path, len(body), claimed, update.examples, {}, state, body if inline else None)

    def _keep(self, work: Work, before: bytes, value: str) -> tuple[Path, int, str] | None:
        if work.kind == "init" or rule_of(work.spec).keeps == "nothing":
            return None
        body = next_state(before, work.client, work.job_round, value)
        work.state_output_path.parent.mkdir(parents=True, exist_ok=True)
        work.state_output_path.write_bytes(body)
        return work.state_output_path, len(body), digest(body)

    def _spoilt(self, update: FakeUpdate) -> FakeUpdate:
        world = self.world
        if world.hit("rubbish"):
            return FakeUpdate(update.job, update.round, update.client, update.attempt, RUBBISH, update.examples)
        if world.hit("mislabelled"):
            return FakeUpdate(update.job, update.round + 1, "other", update.attempt, update.value, 1)
        return update


def evaluation_of(client: str, base: bytes) -> dict[str, float]:
    return {"accuracy": sum(base + client.encode()) % 97 / 97, "loss": sum(base) % 89 / 89}


def _base(work: Work) -> bytes:
    path: Path | None = work.base_path
    return b"" if path is None else path.read_bytes()
