"""Small updates of several clients in one object: each is found, counted or rejected by itself."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import safetensors
from made.federation import Federation
from training.works import TASK

from warren.aggregator.ports import UpdateRejected
from warren.aggregator.receipts import claims_of
from warren.aggregator.retention import waste
from warren.aggregator.verifying import Verdict, Verifying
from warren.storage import keys
from warren.storage.documents import Entry, Manifest, write_document
from warren.storage.errors import ObjectMissing
from warren.storage.folder import FolderStore
from warren.storage.keys import UpdateName
from warren.storage.parcels import PARCEL_BYTES_MAX, ParcelDamaged, Parcels, pack
from warren.trainer.wire import Trained

CLIENTS = 11  # more than one pass of the fold, and some that are left for the end
TWO = [("c1.a", b"one"), ("c2.b", b"the other")]


def put(store: FolderStore, members: list[tuple[str, bytes]], body: bytes | None = None) -> list[UpdateName]:
    """A parcel of round 1, and what its key says."""
    name = "".join(f"_{member}" for member, _ in members)
    key = keys.parcel("j", 1, "pool.default", name)
    store.create(key, pack(members) if body is None else body)
    return list(keys.read_updates(key))


def test_each_member_is_found_by_client_and_attempt(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    first, second = put(store, TWO)
    parcels = Parcels(store)
    assert (parcels.read(first.place, 100), parcels.read(second.place, 100)) == (b"one", b"the other")


def test_a_parcel_is_read_from_the_store_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, reads = FolderStore(tmp_path), []
    names, read = put(store, TWO), store.read
    monkeypatch.setattr(store, "read", lambda key, **more: (reads.append(key), read(key, **more))[1])
    parcels = Parcels(store)
    for name in names:
        parcels.read(name.place, 100)
    assert len(reads) == 1


def test_a_parcel_is_a_safetensors_file_of_the_updates_files() -> None:
    held = safetensors.deserialize(pack(TWO))
    assert {name: (fields["dtype"], bytes(fields["data"])) for name, fields in held} == {
        name: ("U8", body) for name, body in TWO
    }


@pytest.mark.parametrize("body", [b"", b"rubbish", pack(TWO)[:-1], bytes(PARCEL_BYTES_MAX + 1)])
def test_what_is_no_parcel_is_damaged(tmp_path: Path, body: bytes) -> None:
    names = put(FolderStore(tmp_path), TWO, body)
    with pytest.raises(ParcelDamaged):
        Parcels(FolderStore(tmp_path)).read(names[0].place, 100)


def test_a_member_over_the_limit_is_not_given_out(tmp_path: Path) -> None:
    names = put(FolderStore(tmp_path), TWO)
    with pytest.raises(ParcelDamaged, match="limit is 5"):
        Parcels(FolderStore(tmp_path)).read(names[1].place, 5)


def test_a_member_that_the_key_or_the_parcel_does_not_name_is_not_there(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    first, second = put(store, TWO, pack([*TWO[:1], ("c9.z", b"smuggled")]))
    smuggled = f"{keys.split_place(first.place)[0]}#c9.z"
    for place in (second.place, smuggled):
        with pytest.raises(ObjectMissing):
            Parcels(store).read(place, 100)


class Round:
    """Round 1 of a job, whose updates are stored as one object each or in parcels of four."""

    def __init__(self, folder: Path, each: int, **fields: object) -> None:
        self.made = Federation(folder, TASK, clients=CLIENTS, **fields)
        self.each = each
        self.told: list[tuple[UpdateName, Trained]] = []

    def train(self) -> None:
        made = self.made
        done: list[tuple[str, str, bytes]] = []
        for client in made.spec.client_names:
            told = made.runner.run(made.work("train", client), lambda: True)
            assert isinstance(told, Trained)
            self.told.append((UpdateName("j", 1, "pool.default", client, f"a{made._attempts}"), told))
            done.append((client, f"a{made._attempts}", told.path.read_bytes()))
        for start in range(0, CLIENTS, self.each):
            part = done[start : start + self.each]
            if len(part) == 1:
                client, attempt, body = part[0]
                made.store.create(keys.update("j", 1, "pool.default", client, attempt), body)
            else:
                put(made.store, [(f"{client}.{attempt}", body) for client, attempt, body in part])

    def entries(self, size: int | None = None) -> list[Entry]:
        """Each examined as the listing tells of it, with this size or its own."""
        made, base = self.made, self.made.numbers.base("j", 0)
        claims = {claim.name.client: claim for claim in claims_of(made.store.list(keys.updates("j", 1)))}
        found = []
        for name, told in self.told:
            claim = claims[name.client]
            found.append(
                made.numbers.examine(claim.name, made.spec, base, told.digest, told.size if size is None else size)
            )
            made.numbers.offer(made.spec, 1, found[-1], made.spec.client_names)
        return found

    def close(self, entries: list[Entry]) -> bytes:
        made = self.made
        manifest = Manifest(job="j", round=1, base=made.numbers.base("j", 0), entries=tuple(entries))
        made.store.create(keys.manifest("j", 1), write_document(manifest))
        made.numbers.write(made.spec, manifest)
        return made.store.read(keys.checkpoint("j", 1))


@pytest.mark.parametrize("size", [None, 0], ids=["from memory", "by files"])
@pytest.mark.parametrize("reducer", ["average", "median"])
def test_the_checkpoint_is_the_one_that_single_objects_give(tmp_path: Path, reducer: str, size: int | None) -> None:
    made = {}
    for each in (1, 4):
        one = Round(tmp_path / str(each), each, reducer={"name": reducer})
        one.train()
        made[each] = one.close(one.entries(size))
    assert made[1] == made[4]


def test_another_aggregator_makes_the_same_from_the_manifest_alone(tmp_path: Path) -> None:
    one = Round(tmp_path / "run", 4)
    one.train()
    one.close(one.entries())
    with Verifying(one.made.store, one.made.spec, tmp_path / "again") as verifying:
        assert [*verifying.run()][1] == Verdict(1, "same")


def test_a_parcel_that_was_changed_after_it_was_frozen_is_named(tmp_path: Path) -> None:
    one = Round(tmp_path / "run", 4)
    one.train()
    one.close(one.entries())
    path = next(path for path in (tmp_path / "run" / "store").rglob("_*.safetensors"))
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with Verifying(one.made.store, one.made.spec, tmp_path / "again") as verifying:
        verdict = [*verifying.run()][1]
    assert verdict.state == "damaged"


def test_a_parcel_that_is_gone_is_named_by_its_clients(tmp_path: Path) -> None:
    one = Round(tmp_path / "run", 4)
    one.train()
    one.close(one.entries())
    one.made.store.delete(next(info.key for info in one.made.store.list(keys.parcels("j", 1, "pool.default"))))
    with Verifying(one.made.store, one.made.spec, tmp_path / "again") as verifying:
        assert "c000" in [*verifying.run()][1].reason


def test_one_bad_member_is_rejected_and_the_others_count(tmp_path: Path) -> None:
    one = Round(tmp_path, CLIENTS)
    made = one.made
    told = [made.runner.run(made.work("train", client), lambda: True) for client in made.spec.client_names[:1]]
    assert isinstance(told[0], Trained)
    good, _ = put(made.store, [(f"c000.a{made._attempts}", told[0].path.read_bytes()), ("c001.bad", b"rubbish")])
    bad = UpdateName("j", 1, "pool.default", "c001", "bad", good.parcel)
    base = made.numbers.base("j", 0)
    assert made.numbers.examine(good, made.spec, base, told[0].digest, told[0].size).parcel == good.parcel
    with pytest.raises(UpdateRejected):
        made.numbers.examine(bad, made.spec, base, None, 7)


def test_a_parcel_that_can_t_be_read_is_rejected_with_the_reason(tmp_path: Path) -> None:
    made = Round(tmp_path, 4).made
    name = put(made.store, TWO, b"rubbish")[0]
    for size in (0, 3):
        with pytest.raises(UpdateRejected, match="too short"):
            made.numbers.examine(name, made.spec, made.numbers.base("j", 0), None, size)


def test_a_parcel_stays_while_one_member_of_it_is_kept(tmp_path: Path) -> None:
    one = Round(tmp_path, 4)
    one.train()
    entries = one.entries()
    one.close(entries[:1])  # of the first parcel one counts; of the others none
    gone = {found.key: found.reason for found in waste(one.made.store, one.made.spec) if "/00001/" in found.key}
    stays = keys.parcel("j", 1, "pool.default", entries[0].parcel or "")
    assert stays not in gone
    assert len(gone) == 2
    assert set(gone.values()) == {"did not count in round 1"}


def test_threads_that_read_one_parcel_each_get_their_member(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    names = put(store, [(f"c{number}.a", bytes([number]) * 1000) for number in range(8)])
    parcels, found = Parcels(store), {}

    def read(name: UpdateName) -> None:
        found[name.client] = parcels.read(name.place, 1000)

    threads = [threading.Thread(target=read, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {f"c{number}": bytes([number]) * 1000 for number in range(8)}
