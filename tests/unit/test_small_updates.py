"""Small updates are read once, into memory, and folded from there: the same checkpoint, and no file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made.federation import Federation
from training.works import TASK

from warren.storage import keys
from warren.storage.documents import Entry, Manifest
from warren.storage.keys import UpdateName
from warren.storage.parcels import pack
from warren.trainer.wire import Trained

CLIENTS = 11  # more than one pass of the fold, and some that are left for the end


class Reads:
    """What a federation's aggregator asks its store for: whole objects, and objects as files."""

    def __init__(self, made: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: list[str] = []
        self.files: list[str] = []
        for verb, seen in (("read", self.read), ("local_path", self.files)):
            monkeypatch.setattr(made.store, verb, self._noting(getattr(made.store, verb), seen))

    @staticmethod
    def _noting(call: Any, seen: list[str]) -> Any:
        def noted(key: str, **more: Any) -> Any:
            seen.append(key)
            return call(key, **more)

        return noted


def announced(made: Federation, client: str, size: int | None = None) -> Entry:
    """An update of this client in the round at hand, examined with the size that was told of it, or another."""
    told = made.runner.run(made.work("train", client), lambda: True)
    assert isinstance(told, Trained)
    attempt = f"a{made._attempts}"
    name = UpdateName("j", made.round, made.spec.source_of(client), client, attempt)
    made.store.create(keys.update("j", name.round, name.source, name.client, attempt), told.path)
    base = made.numbers.base("j", made.round - 1)
    return made.numbers.examine(name, made.spec, base, told.digest, told.size if size is None else size)


def one_round(folder: Path, monkeypatch: pytest.MonkeyPatch, size: int | None, **fields: Any) -> tuple[bytes, Reads]:
    made = Federation(folder, TASK, clients=CLIENTS, **fields)
    reads = Reads(made, monkeypatch)
    order = made.spec.client_names
    entries = []
    for client in order:
        entries.append(announced(made, client, size))
        made.numbers.offer(made.spec, made.round, entries[-1], order)
    manifest = Manifest(job="j", round=made.round, base=made.numbers.base("j", 0), entries=tuple(entries))
    made.numbers.write(made.spec, manifest)
    return made.store.read(keys.checkpoint("j", 1)), reads


def test_small_updates_are_read_once_and_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, reads = one_round(tmp_path, monkeypatch, None)
    assert sum(key.startswith("updates/") for key in reads.read) == CLIENTS
    assert not [key for key in reads.files if key.startswith("updates/")]


@pytest.mark.parametrize("reducer", ["average", "median"])
def test_the_checkpoint_is_the_one_that_files_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reducer: str
) -> None:
    in_memory, _ = one_round(tmp_path / "small", monkeypatch, None, reducer={"name": reducer})
    by_files, reads = one_round(tmp_path / "files", monkeypatch, 0, reducer={"name": reducer})
    assert [key for key in reads.files if key.startswith("updates/")]
    assert in_memory == by_files


def test_an_update_that_is_larger_than_it_was_said_to_be_is_examined_as_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warren.aggregator.small.SMALL_BYTES", 100)
    _, reads = one_round(tmp_path, monkeypatch, 50)
    assert sum(key.startswith("updates/") for key in reads.files) >= CLIENTS


def test_a_parcels_members_are_folded_from_memory_also_where_alone_they_would_be_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warren.aggregator.small.SMALL_BYTES", 0)
    made = Federation(tmp_path, TASK, clients=2)
    reads, (source,) = Reads(made, monkeypatch), {made.spec.source_of(client) for client in made.spec.client_names}
    digests, members = {}, []
    for client in made.spec.client_names:
        told = made.runner.run(made.work("train", client), lambda: True)
        assert isinstance(told, Trained)
        digests[client] = told.digest
        members.append((f"{client}.a{made._attempts}", told.path.read_bytes()))
    key = keys.parcel("j", 1, source, "".join(f"_{member}" for member, _ in members))
    made.store.create(key, pack(members))
    base, entries = made.numbers.base("j", 0), []
    for name, (_, body) in zip(keys.read_updates(key), members, strict=True):
        entries.append(made.numbers.examine(name, made.spec, base, digests[name.client], len(body)))
    made.numbers.write(made.spec, Manifest(job="j", round=1, base=base, entries=tuple(entries)))
    assert reads.read.count(key) == 1
    assert not list((tmp_path / "scratch").rglob("updates*"))
