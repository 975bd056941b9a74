"""The tensors of the jobs that are led here: fetching, examining, folding ahead, writing checkpoints."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal

from ..storage import keys
from ..storage.digests import digest_file
from ..storage.documents import Base, Entry, Manifest
from ..storage.errors import ObjectDamaged, ObjectMissing, StorageError
from ..storage.job import JobSpec
from ..storage.keys import UpdateName
from ..storage.objects import OBJECT_BYTES_MAX, ObjectStore
from ..storage.tensors import Header, Written, read_header
from .by_range import needs_ranges, write_ranges
from .checkpoint import checked, fold_for, write_checkpoint
from .client_states import check_kept
from .desk import Desk, Made
from .fold import GROUP_MAX, Incoming
from .intake import entry_of, examine, examine_packed, max_bytes, place_of
from .layout import read_layout
from .pieces import FileSource, Source
from .remote import RemoteSource
from .small import has_room, limit_of
from .spool import SPOOL_BYTES_MAX, Spool, rejecting
from .staleness import weight_of
from .strategies.registry import elementwise, needs_squares
from .unpacking import packed, plain_path, update_file

READ_BYTES = 1 << 30  # of updates that lie in the store alone and are read in parts, where no limit says less
CHECKPOINT_OUT, OPTIMIZER_OUT = "checkpoint.out", "optimizer.out"  # made, and on their way to the store
CONTENT_TYPE = "application/vnd.safetensors"  # none that a store would try to compress

log = logging.getLogger("warren.aggregator")


class Averaging:
    """`Numbers` on real tensors. `examine` may be called by several threads; the rest by the job's leader alone."""

    def __init__(
        self,
        store: ObjectStore,
        scratch: Path,
        spool_bytes_max: int = SPOOL_BYTES_MAX,
        memory_limit: int | None = None,
    ) -> None:
        """Work in `scratch`, which is this aggregator's alone.

        Args:
            spool_bytes_max: of updates that wait there; what does not fit is read from the store again.
            memory_limit: bytes; a model whose fold would take more is folded range by range, within about so many.
        """
        self._memory_limit = memory_limit
        self._store = store
        self._scratch = scratch
        self._spool_bytes_max = spool_bytes_max
        self._desks: dict[str, Desk] = {}
        self._lock = threading.Lock()

    def base(self, job: str, round_number: int) -> Base:
        """Key, digest and size of a round's checkpoint."""
        return self._named(self._desk(job), keys.checkpoint(job, round_number))

    def server(self, job: str, round_number: int) -> Base | None:
        """The same of the strategy's state beside it; None where it has none."""
        try:
            return self._named(self._desk(job), keys.optimizer(job, round_number))
        except ObjectMissing:
            return None

    def examine(self, name: UpdateName, spec: JobSpec, base: Base | None, digest: str | None, size: int = 0) -> Entry:
        """Fetch an update and read it whole. It waits for its turn in a file, if there is room; in memory if small."""
        header = self._header(desk := self._desk(spec.job), base)
        key = name.place
        kind: Literal["init", "train"] = "init" if name.round == 0 else "train"
        with rejecting(desk.spool, key):
            small = self._small(desk, spec, name, key, size)
            if packed(spec, name.round) and header is not None:
                out, path = plain_path(desk.spool, key), desk.spool.path(key, max_bytes(header, spec))
                found = examine_packed(path, name, spec, header, digest, out)
                desk.spool.replace(key, out)
            else:
                update = small or desk.spool.path(key, max_bytes(header, spec))
                found = examine(update, name, kind, spec, header, digest)
        check_kept(self._store, spec, name, found.state, found.state_bytes)
        if small is None and desk.spool.full:
            desk.spool.release(key)  # what is fetched again is checked again
            return entry_of(name, found)
        with self._lock:
            desk.examined.add(found.digest)
            if small is not None and found.small is not None:
                desk.small[name.client, name.attempt] = found.small
        return entry_of(name, found)

    def offer(self, spec: JobSpec, round_number: int, entry: Entry, order: tuple[str, ...]) -> None:
        """Take an update into the sum as soon as all before it in the order are there, several in one pass."""
        desk = self._desk(spec.job)
        if not self._folds_ahead(desk, spec, round_number):
            return
        desk.waiting[entry.client] = entry
        ready = desk.folded
        while ready < len(order) and order[ready] in desk.waiting:
            ready += 1
        if ready - desk.folded >= GROUP_MAX:
            self._fold_ahead(desk, spec, round_number, order[desk.folded : ready])

    def prepare(self, spec: JobSpec, manifest: Manifest) -> None:
        """Make the checkpoint's bytes, which is all of `write` that needs no manifest in the store."""
        desk = self._desk(spec.job)
        with suppress(StorageError):  # `write` meets it again, where it is said and mended
            desk.made = Made(manifest, *self._make(desk, spec, manifest))

    def made(self, spec: JobSpec, manifest: Manifest) -> tuple[Base, Base | None] | None:
        made = self._desk(spec.job).made
        return made.bases if made and made.manifest is manifest else None

    def write(self, spec: JobSpec, manifest: Manifest) -> None:
        """Make the checkpoint's bytes, and create it: the optimizer's state first, as a checkpoint implies it."""
        desk = self._desk(spec.job)
        made, desk.made = desk.made, None
        if made is None or made.manifest is not manifest:
            made = Made(manifest, *self._make(desk, spec, manifest))
        checkpoint, state = made.bases
        out, optimizer_out = map(desk.spool.own, (CHECKPOINT_OUT, OPTIMIZER_OUT))
        create = partial(self._store.create, content_type=CONTENT_TYPE, given=True)
        state_is_ours = state is not None and create(state.key, optimizer_out)
        ours = create(checkpoint.key, out, metadata={"round": str(manifest.round), "digest": checkpoint.digest})
        self._turn(desk)
        if ours:  # else the bytes that stand are another's, perhaps of another torch build: they are read
            desk.bases = {checkpoint.key: checkpoint}
            desk.spool.adopt(checkpoint.key, out)
            desk.stateless = manifest.round if state is None else None
        if state is not None and state_is_ours:
            desk.bases[state.key] = state
            desk.spool.adopt(state.key, optimizer_out)

    def _make(self, desk: Desk, spec: JobSpec, manifest: Manifest) -> tuple[Written, Written | None]:
        """The files of the checkpoint and, where the strategy keeps state, of that."""
        round_number, spool = manifest.round, desk.spool
        base = spool.path(keys.checkpoint(spec.job, round_number - 1), OBJECT_BYTES_MAX) if round_number else None
        optimizer = self._optimizer(desk, spec, round_number - 1) if round_number else None
        out, optimizer_out = spool.over(CHECKPOINT_OUT), (spool.over if optimizer else spool.own)(OPTIMIZER_OUT)
        if self._memory_limit is not None and self._limited(spec, self._model(desk, spec, manifest, base)):
            return write_ranges(
                spec,
                manifest,
                base,
                optimizer,
                lambda entry: self._open(desk, spec, manifest, entry),
                out,
                optimizer_out,
                self._memory_limit,
            )
        if base is not None and desk.fold is None and spec.reducer.name == "average":
            # else each round that folds nothing ahead would fault in a fresh one
            desk.fold = fold_for(spec, read_layout(read_header(base), checkpoint=True))
        return write_checkpoint(
            spec,
            manifest,
            base,
            optimizer,
            lambda entry: self._update(desk, spec, round_number, manifest.round_of(entry), entry),
            desk.fold,
            out,
            optimizer_out,
            examined=desk.examined,
            small=desk.small,
            open_update=lambda entry: self._open(desk, spec, manifest, entry),
        )

    def copy(self, key: str, to: str, *, tag: str | None, metadata: Mapping[str, str]) -> bool:
        """Copy an object through a file."""
        path = self._desk(key.split("/")[1]).spool.path(key, OBJECT_BYTES_MAX)
        if tag is None:
            return self._store.create(to, path, content_type=CONTENT_TYPE, metadata=metadata)
        return self._store.replace(to, path, tag=tag, content_type=CONTENT_TYPE, metadata=metadata)

    def forget(self, job: str) -> None:
        with self._lock:
            desk = self._desks.pop(job, None)
        if desk is not None:
            desk.spool.close()

    def _small(self, desk: Desk, spec: JobSpec, name: UpdateName, key: str, size: int) -> memoryview | None:
        """The bytes of an update that is folded from memory; None for any other."""
        wanted = has_room(len(desk.small), size, limit_of(name)) and not packed(spec, name.round)
        if wanted and self._folds_ahead(desk, spec, name.round):
            with suppress(ObjectDamaged):  # it is larger than it was said to be
                return desk.spool.read(key, limit_of(name))
        return None

    def _named(self, desk: Desk, key: str) -> Base:
        if key not in desk.bases:
            path = desk.spool.path(key, OBJECT_BYTES_MAX)
            desk.bases[key] = Base(key=key, digest=digest_file(path), size=path.stat().st_size)
        return desk.bases[key]

    def _desk(self, job: str) -> Desk:
        with self._lock:
            desk = self._desks.get(job)
            if desk is None:
                spool = Spool(self._store, self._scratch / job, self._spool_bytes_max)
                desk = self._desks[job] = Desk(spool)
            return desk

    def _header(self, desk: Desk, base: Base | None) -> Header | None:
        """The header of the checkpoint that the round starts from, read once."""
        if base is None:
            return None
        if desk.header_digest != base.digest:
            header = read_header(desk.spool.path(base.key, base.size))
            with self._lock:
                desk.header, desk.header_digest = header, base.digest
        return desk.header

    def _optimizer(self, desk: Desk, spec: JobSpec, round_number: int) -> Path | None:
        if desk.stateless == round_number:
            return None
        try:
            return desk.spool.path(keys.optimizer(spec.job, round_number), OBJECT_BYTES_MAX)
        except ObjectMissing:
            return None

    def _fold_ahead(self, desk: Desk, spec: JobSpec, round_number: int, clients: tuple[str, ...]) -> None:
        assert desk.header is not None
        desk.fold = desk.fold or fold_for(spec, read_layout(desk.header, checkpoint=True))
        entries = [desk.waiting.pop(client) for client in clients]
        desk.folded += len(clients)
        try:
            desk.fold.add([self._incoming(desk, spec, round_number, entry) for entry in entries])
        except StorageError as error:
            log.info("not folded ahead: %s", error, extra={"job": spec.job})
            desk.fold.reset()  # `write` starts over
        for entry in entries:
            desk.examined.discard(entry.digest)
            desk.spool.release(place_of(spec, round_number, entry))

    def _update(self, desk: Desk, spec: JobSpec, round_number: int, asked_in: int, entry: Entry) -> Path:
        """An update for this round as a plain file. One that is packed is checked as it is unpacked."""
        base = None
        if packed(spec, round_number):
            base = self._header(desk, self.base(spec.job, round_number - 1))
            desk.examined.add(entry.digest)
        key = place_of(spec, asked_in, entry)
        return update_file(desk.spool, spec, round_number, key, size=entry.size, digest=entry.digest, base=base)

    def _open(self, desk: Desk, spec: JobSpec, manifest: Manifest, entry: Entry) -> Source:
        """An update of a frozen round to read parts of: a file where it is or can be one, else the store's object."""
        asked_in = manifest.round_of(entry)
        key = place_of(spec, asked_in, entry)
        if packed(spec, manifest.round) or desk.spool.takes(key, entry.size):
            path = self._update(desk, spec, manifest.round, asked_in, entry)
            return FileSource(checked(entry, path, desk.examined))
        share = (self._memory_limit or READ_BYTES) // (8 * len(manifest.entries))
        return RemoteSource(self._store, key, entry.size, entry.digest, share)

    def _model(self, desk: Desk, spec: JobSpec, manifest: Manifest, base: Path | None) -> Header:
        """The header of what a round starts from; of the first update where that is nothing."""
        return read_header(base) if base else self._open(desk, spec, manifest, manifest.entries[0]).header

    def _folds_ahead(self, desk: Desk, spec: JobSpec, round_number: int) -> bool:
        """Whether updates can be taken into the sum one by one: a robust reducer looks at all of them together."""
        if round_number == 0 or desk.header is None:
            return False
        if desk.ahead is None:
            whole = spec.reducer.name != "average" or needs_squares(spec)
            desk.ahead = not (whole or self._limited(spec, desk.header))
        return desk.ahead

    def _limited(self, spec: JobSpec, model: Header) -> bool:
        """Whether this model is to be folded range by range."""
        if self._memory_limit is None or not needs_ranges(spec, model, self._memory_limit):
            return False
        if elementwise(spec):
            return True
        log.warning("%s sees the model whole: the limit is passed", spec.strategy.name, extra={"job": spec.job})
        return False

    def _incoming(self, desk: Desk, spec: JobSpec, round_number: int, entry: Entry) -> Incoming:
        small = desk.small.pop((entry.client, entry.attempt), None)
        source = small or self._update(desk, spec, round_number, round_number, entry)
        return Incoming(entry.client, entry.attempt, source, weight_of(spec, entry))

    def _turn(self, desk: Desk) -> None:
        """The round is written: what was at hand for it goes."""
        desk.spool.clear()
        desk.bases = {}
        desk.waiting.clear()
        desk.examined.clear()
        desk.small.clear()
        desk.folded = 0
        desk.ahead = None
        if desk.fold is not None:
            desk.fold.reset()
