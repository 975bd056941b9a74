"""A new job from a committed round of another: its checkpoint, optimizer and client state are copied, and named."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from .. import __version__
from ..storage import keys
from ..storage.digests import digest_file, kind_of, lasting
from ..storage.documents import Manifest, write_document
from ..storage.errors import ObjectDamaged, ObjectMissing, StorageRefused
from ..storage.job import JobSpec, write_spec
from ..storage.objects import OBJECT_BYTES_MAX, ObjectStore
from ..storage.rules import kept_at_site
from .client_states import InForce, in_force
from .record import JSON, Record
from .spool import Spool

SAFETENSORS = "application/vnd.safetensors"


def fork(store: ObjectStore, source: str, round_number: int, spec: JobSpec, task: bytes, scratch: Path) -> Manifest:
    """Make job `spec.job` start where `source` stood after a round; its own rounds count from 1.

    `job.json` is created last: whatever breaks off before it leaves objects, and no job.

    Args:
        store: where both jobs are.
        source: the job that is forked.
        round_number: a committed round whose checkpoint is stored.
        spec: the new job, of a fresh id.
        task: the source of its task.
        scratch: a folder of this call's own.

    Returns:
        Manifest 0 of the new job, which names the source and the digests of what was copied.

    Raises:
        ObjectMissing: there is no such round, or its checkpoint is gone.
        ObjectDamaged: the checkpoint is not the one that the source's next round started from.
        StorageRefused: another job has this id.
    """
    record, spool = Record(store, source), Spool(store, scratch)
    try:
        check_round(record, round_number)
        _create(store, keys.task(spec.job, spec.task.file), task, "text/x-python")
        facts = _copy_all(store, spool, record, round_number, spec.job)
    finally:
        spool.close()
    manifest = Manifest(
        job=spec.job,
        round=0,
        entries=(),
        reason=f"forked from round {round_number} of {source}",
        asked=0,
        quorum=0,
        frozen_at=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"warren": __version__},
        forked_from={"job": source, "round": str(round_number), **facts},
    )
    _create(store, keys.manifest(spec.job, 0), write_document(manifest), JSON)
    _create(store, keys.spec(spec.job), write_spec(spec), JSON)
    return manifest


def check_round(record: Record, number: int) -> None:
    """See that a round can be forked. Raises ObjectMissing, with the rounds that can."""
    highest = record.highest_manifest()
    if highest is None:
        raise ObjectMissing(f"{record.job} has no round yet: there is nothing to fork")
    if number > highest or not record.committed(number):
        stored = [n for n in range(highest + 1) if record.committed(n)]
        raise ObjectMissing(f"{record.job} has no checkpoint of round {number}; it has {_listed(stored)}")


def _listed(numbers: list[int]) -> str:
    """`0 to 5`, or the last few where some are gone."""
    if numbers and numbers[-1] - numbers[0] + 1 == len(numbers):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers[-10:])) or "none"


def _copy_all(store: ObjectStore, spool: Spool, record: Record, number: int, job: str) -> dict[str, str]:
    """Copy what the round left, the optimizer's state first as a checkpoint implies it; digest by name."""
    facts: dict[str, str] = {}
    if store.stat(keys.optimizer(record.job, number)) is not None:
        facts["optimizer"] = _copy(store, spool, keys.optimizer(record.job, number), keys.optimizer(job, 0))
    for state in client_states(store, record, number):
        to = keys.client_state(job, state.client, 0, state.attempt)
        facts[f"client {state.client}"] = _copy(store, spool, state.base.key, to, state.base.digest)
    expected = _expected(record, number)
    facts["checkpoint"] = _copy(store, spool, keys.checkpoint(record.job, number), keys.checkpoint(job, 0), expected)
    return facts


def client_states(store: ObjectStore, record: Record, number: int) -> Iterator[InForce]:
    """The state in force of each client after a round. What stays at the sites can't be copied: there it starts over.

    Raises:
        ObjectMissing: a client's is collected.
    """
    if kept_at_site(record.spec()):
        return
    for state in in_force(store, record, number):
        if store.stat(state.base.key) is None:
            raise ObjectMissing(
                f"what {state.client} kept in round {state.round} of {record.job} was collected (keep_updates): "
                "fork one of its last rounds"
            )
        yield state


def _expected(record: Record, number: int) -> str | None:
    """The digest that the next round named as its start, if there is a next round."""
    try:
        base = record.manifest(number + 1).base
    except ObjectMissing:
        return None
    return None if base is None else base.digest


def _copy(store: ObjectStore, spool: Spool, key: str, to: str, expected: str | None = None) -> str:
    path = spool.path(key, OBJECT_BYTES_MAX)
    digest = digest_file(path, lasting if expected is None else kind_of(expected))
    if expected is not None and digest != expected:
        raise ObjectDamaged(f"{key} is not what the round after it started from")
    _create(store, to, path, SAFETENSORS, {"round": "0", "digest": digest})
    spool.release(key)
    return digest


def _create(
    store: ObjectStore, key: str, body: bytes | Path, content_type: str, metadata: dict[str, str] | None = None
) -> None:
    if not store.create(key, body, content_type=content_type, metadata=metadata):
        raise StorageRefused(f"{key} is there already: another job has this id. Fork again: ids are drawn anew.")
