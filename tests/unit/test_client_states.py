"""Which of a client's states is in force: that of its last update that counted, however a leader came to know it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made.committed import spec_of
from made.federation import Federation

from warren.aggregator.client_states import ClientStates, states_of
from warren.aggregator.ports import UpdateRejected
from warren.broker.messages import RoundJob
from warren.storage import keys
from warren.storage.digests import digest_file
from warren.storage.documents import Entry, Manifest
from warren.storage.folder import FolderStore
from warren.storage.job import JobSpec
from warren.storage.keys import UpdateName
from warren.trainer.states import States

CLIENTS = ("c000", "c001", "c002")
SPEC = spec_of("j", 50, strategy={"name": "scaffold"})
TASK = """
import torch
from torch.utils.data import TensorDataset

def model():
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))

def data(client):
    chance = torch.Generator().manual_seed(client.index)
    x = torch.randn(24, 3, generator=chance)
    return TensorDataset(x, (x[:, 0] > 0).long())
"""


def manifest(number: int, clients: tuple[str, ...], state: bool = True) -> Manifest:
    entries = tuple(
        Entry(
            client=client,
            source="pool.default",
            attempt=f"{client}-{number}",
            digest="0" * 64,
            size=1,
            examples=1,
            state="1" * 64 if state else None,
        )
        for client in clients
    )
    return Manifest(job="j", round=number, entries=entries)


@given(st.lists(st.sets(st.sampled_from(CLIENTS)), min_size=1, max_size=30))
def test_a_new_leader_knows_what_the_old_one_knew(counted: list[set[str]]) -> None:
    history = [manifest(0, ("c000",), state=False)]
    history += [manifest(number, tuple(sorted(names))) for number, names in enumerate(counted, start=1)]
    old, new = ClientStates(SPEC), ClientStates(SPEC)
    for one in history:
        old.note(one)
    new.resume(lambda number: states_of(history[number]), len(history) - 1)
    for client in CLIENTS:
        last = max((n for n, names in enumerate(counted, start=1) if client in names), default=None)
        named = old.of(client, len(counted))
        assert named == new.of(client, len(counted))
        expected = None if last is None else keys.client_state("j", client, last, f"{client}-{last}")
        assert (named.key if named else None) == expected


def test_a_job_whose_clients_keep_nothing_reads_no_manifests() -> None:
    def read(number: int) -> Any:
        raise AssertionError("read a manifest")

    states = ClientStates(spec_of("j", 5))
    states.resume(read, 1000)
    assert states.of("c000", 1000) is None


def test_an_evaluation_of_an_older_round_is_given_the_state_of_that_round() -> None:
    states = ClientStates(SPEC)
    for number in (1, 2, 3):
        states.note(manifest(number, ("c000",)))
    assert (
        [states.of("c000", number) and states.of("c000", number).key[-18:] for number in (0, 2, 3)]
        == [  # type: ignore[union-attr]
            None,
            keys.client_state("j", "c000", 2, "c000-2")[-18:],
            keys.client_state("j", "c000", 3, "c000-3")[-18:],
        ]
    )


def test_an_update_whose_state_is_not_in_the_store_does_not_count(tmp_path: Path) -> None:
    job = Federation(tmp_path, TASK, clients=2, strategy={"name": "scaffold"}, train={"lr": 0.1})
    work = job.work("train", "c000")
    told = job.runner.run(work, lambda: True)
    name = UpdateName("j", 1, "pool.default", "c000", work.attempt)
    job.store.create(keys.update("j", 1, name.source, name.client, name.attempt), told.path)  # type: ignore[union-attr]
    with pytest.raises(UpdateRejected, match="keeps"):
        job.numbers.examine(name, job.spec, job.numbers.base("j", 0), None)


def test_a_state_that_did_not_count_has_no_effect_on_anything_later(tmp_path: Path) -> None:
    with_losses, without = (
        Federation(tmp_path / name, TASK, clients=3, strategy={"name": "scaffold"}, train={"lr": 0.1})
        for name in ("a", "b")
    )
    for lost in (["c000"], ["c001", "c000"], ["c002"]):
        counted = [name for name in CLIENTS if name not in lost]
        with_losses.run(counted, lost)
        without.run(counted)
    assert with_losses.model().keys() == without.model().keys()
    assert all((with_losses.model()[name] == tensor).all() for name, tensor in without.model().items())


def states_at(tmp_path: Path, site: str, personal: Path) -> tuple[FolderStore, States, JobSpec]:
    store = FolderStore(tmp_path / "store")
    spec = spec_of("j", 9, clients=1, sites=[site], train={"rule": "fedbn"})
    return store, States(store, tmp_path / "cache", personal), spec


def round_job(number: int, state: tuple[int, str, str] | None = None) -> RoundJob:
    """An order for st-mary; `state`: round, attempt and digest of what it kept."""
    named = {}
    if state is not None:
        named = {"state": keys.client_state("j", "st-mary", state[0], state[1]), "state_digest": state[2]}
    return RoundJob(job="j", round=number, kind="train", client="st-mary", source="site.st-mary", **named)


def test_personal_layers_of_a_site_stay_on_its_disk(tmp_path: Path) -> None:
    store, states, spec = states_at(tmp_path, "st-mary", tmp_path / "site")
    made = tmp_path / "made"
    digests = {}
    for number in (1, 2, 3, 4, 5):
        made.write_bytes(b"layers %d" % number)
        digests[number] = digest_file(made)
        states.keep(round_job(number), spec, f"a{number}", made)
    (tmp_path / "site" / "j" / "st-mary" / ".00003.a9.safetensors").write_bytes(b"half")  # its trainer died
    assert list(store.list("")) == []
    found = states.path(round_job(6, (4, "a4", digests[4])), spec)
    assert found is not None
    assert found.read_bytes() == b"layers 4"
    assert found.is_relative_to(tmp_path / "site")
    left = sorted(path.name for path in found.parent.iterdir())
    assert left == [f"{n:05}.a{n}.safetensors" for n in (2, 3, 4, 5)]  # 5 may count yet; evaluations ask for 2 and 3


def test_a_site_that_lost_its_layers_starts_over_from_the_model(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, states, spec = states_at(tmp_path, "st-mary", tmp_path / "site")
    assert states.path(round_job(6, (4, "a4", "0" * 64)), spec) is None
    assert "starts over" in caplog.text
