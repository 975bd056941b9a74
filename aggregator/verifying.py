"""Makes each checkpoint of a job again from what was frozen, and says whether the stored bytes are the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..storage import keys
from ..storage.digests import digest_file
from ..storage.documents import Entry, Manifest
from ..storage.errors import ObjectDamaged, ObjectMissing
from ..storage.job import JobSpec
from ..storage.objects import OBJECT_BYTES_MAX, ObjectStore
from ..storage.tensors import Written, read_header
from .checkpoint import write_checkpoint
from .intake import place_of
from .record import Record
from .spool import Spool
from .unpacking import packed, update_file

State = Literal["same", "gone", "differs", "damaged", "unwritten"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verifying one round came to; `gone`: it can't be made again, and the reason names what is missing."""

    round: int
    state: State
    reason: str = ""

    @property
    def trouble(self) -> bool:
        """Whether the store holds something else than what was committed."""
        return self.state in ("differs", "damaged")


class Verifying:
    """Verifies one job. A context: it has files of its own, which go when it is left."""

    def __init__(self, store: ObjectStore, spec: JobSpec, scratch: Path) -> None:
        """Work in `scratch`, which is this verifying's alone."""
        self._store = store
        self._spec = spec
        self._record = Record(store, spec.job)
        self._spool = Spool(store, scratch)

    def __enter__(self) -> Verifying:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    def run(self) -> Iterator[Verdict]:
        """Round by round, in order; nothing where no round is frozen yet."""
        highest = self._record.highest_manifest()
        for number in range(0 if highest is None else highest + 1):
            yield self._verdict(number, last=number == highest)
            self._spool.clear()

    def _verdict(self, number: int, *, last: bool) -> Verdict:
        try:
            try:
                return self._verify(number, last=last)
            except ObjectMissing:  # collected just now, by an aggregator: the second look finds it gone
                return self._verify(number, last=last)
        except (ObjectDamaged, ObjectMissing) as error:
            return Verdict(number, "damaged", str(error))

    def _verify(self, number: int, *, last: bool) -> Verdict:
        manifest = self._record.manifest(number)
        there = self._digest(keys.checkpoint(self._spec.job, number))
        if there is None:
            return _no_checkpoint(number, last)
        follower = None if last else self._record.manifest(number + 1)
        if follower is not None and follower.base is not None and follower.base.digest != there:
            return Verdict(number, "differs", f"round {number + 1} started from other bytes than those stored")
        if manifest.forked_from:
            return _copied(manifest, there)
        missing = self._missing(manifest)
        if missing:
            return Verdict(number, "gone", missing)
        return self._compare(manifest, there)

    def _missing(self, manifest: Manifest) -> str:
        """What it would take to make the checkpoint again and is not stored any more; empty where all is there."""
        job, number = self._spec.job, manifest.round
        if number and self._store.stat(keys.checkpoint(job, number - 1)) is None:
            return f"the checkpoint of round {number - 1}, from which it started, is gone"
        rounds = sorted({manifest.round_of(entry) for entry in manifest.entries})
        held = {info.key for each in rounds for info in self._store.list(keys.updates(job, each))}
        gone = [entry.client for entry in manifest.entries if self._object(manifest, entry) not in held]
        if not gone:
            return ""
        if len(gone) == len(manifest.entries):
            return "its updates are gone"
        return f"the updates of {', '.join(gone[:5])}{' and others' if len(gone) > 5 else ''} are gone"

    def _compare(self, manifest: Manifest, there: str) -> Verdict:
        number = manifest.round
        model, optimizer = self._make_again(manifest)
        if model.digest != there:
            return Verdict(number, "differs", "the checkpoint made again has other bytes")
        stored = self._digest(keys.optimizer(self._spec.job, number))
        if stored != (optimizer.digest if optimizer else None):
            return Verdict(number, "differs", "the optimizer's state made again has other bytes")
        return Verdict(number, "same")

    def _make_again(self, manifest: Manifest) -> tuple[Written, Written | None]:
        before = manifest.round - 1
        base = self._path(keys.checkpoint(self._spec.job, before)) if before >= 0 else None
        unpacked: set[str] = set()  # packed updates, whose digest is checked as they are unpacked
        return write_checkpoint(
            self._spec,
            manifest,
            base,
            self._path(keys.optimizer(self._spec.job, before)) if before >= 0 else None,
            lambda entry: self._update(manifest, entry, base, unpacked),
            None,
            self._spool.own("checkpoint.again"),
            self._spool.own("optimizer.again"),
            examined=unpacked,
        )

    def _update(self, manifest: Manifest, entry: Entry, base: Path | None, unpacked: set[str]) -> Path:
        header, number = None, manifest.round
        if base is not None and packed(self._spec, number):
            header = read_header(base)
            unpacked.add(entry.digest)
        key = self._place(manifest, entry)
        return update_file(self._spool, self._spec, number, key, size=entry.size, digest=entry.digest, base=header)

    def _path(self, key: str) -> Path | None:
        try:
            return self._spool.path(key, OBJECT_BYTES_MAX)
        except ObjectMissing:
            return None

    def _digest(self, key: str) -> str | None:
        path = self._path(key)
        return None if path is None else digest_file(path)

    def _place(self, manifest: Manifest, entry: Entry) -> str:
        return place_of(self._spec, manifest.round_of(entry), entry)

    def _object(self, manifest: Manifest, entry: Entry) -> str:
        """The key of what holds the update: its own, or its parcel's."""
        return keys.split_place(self._place(manifest, entry))[0]


def _no_checkpoint(number: int, last: bool) -> Verdict:
    if last:
        return Verdict(number, "unwritten", "frozen; its checkpoint is not written yet")
    return Verdict(number, "gone", "its checkpoint is gone")


def _copied(manifest: Manifest, there: str) -> Verdict:
    """A fork's round 0: the bytes that its manifest names."""
    source = f"round {manifest.forked_from.get('round')} of {manifest.forked_from.get('job')}"
    if manifest.forked_from.get("checkpoint") == there:
        return Verdict(manifest.round, "same", f"copied from {source}")
    return Verdict(manifest.round, "differs", f"not the bytes that were copied from {source}")
