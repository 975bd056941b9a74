"""Verifying: checkpoints made again from what was frozen, and two jobs compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made.committed import CommittedJob

from warren.aggregator.collecting import outdated
from warren.aggregator.comparing import Comparison, compare
from warren.aggregator.verifying import Verdict, Verifying
from warren.cli.main import call
from warren.storage import keys
from warren.storage.folder import FolderStore


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return FolderStore(tmp_path / "runs")


def verify(job: CommittedJob, tmp_path: Path) -> list[Verdict]:
    with Verifying(job.store, job.spec, tmp_path / "spool") as verifying:
        return list(verifying.run())


def put(store: FolderStore, key: str, body: bytes) -> None:
    store.delete(key)
    store.create(key, body)


def flip_last_byte(store: FolderStore, key: str) -> None:
    body = store.read(key)
    put(store, key, body[:-1] + bytes([body[-1] ^ 1]))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"strategy": {"name": "fedadam"}},
        {"strategy": {"name": "fedavgm"}, "update": "delta"},
        {"update": "gradients", "strategy": {"name": "sgd", "options": {"momentum": 0.9}}},
        {"compress": {"to": "int8"}},
        {"update": "delta", "compress": {"to": "topk", "share": 0.1, "error_feedback": False, "zstd": 3}},
    ],
    ids=["fedavg", "fedadam", "fedavgm-delta", "gradients", "int8", "topk"],
)
def test_a_job_that_was_left_alone_is_made_again_with_the_same_bytes(
    store: FolderStore, tmp_path: Path, fields: dict[str, object]
) -> None:
    job = CommittedJob(store, tmp_path, rounds=3, **fields)
    assert verify(job, tmp_path) == [Verdict(number, "same") for number in range(4)]


def test_rounds_whose_updates_are_gone_are_named(store: FolderStore, tmp_path: Path) -> None:
    job = CommittedJob(store, tmp_path, rounds=4)
    for key in list(outdated(store, job.spec, None)):
        store.delete(key)
    store.delete(keys.update(job.job, 3, "pool.default", "c001", "good"))
    found = verify(job, tmp_path)
    assert [one.state for one in found] == ["gone", "gone", "gone", "gone", "same"]
    assert found[2].reason == "its updates are gone"
    assert found[3].reason == "the updates of c001 are gone"


def test_a_round_whose_start_was_given_up_is_named(store: FolderStore, tmp_path: Path) -> None:
    job = CommittedJob(store, tmp_path, rounds=3)
    store.delete(keys.checkpoint(job.job, 1))
    found = {one.round: (one.state, one.reason) for one in verify(job, tmp_path)}
    assert found[1] == ("gone", "its checkpoint is gone")
    assert found[2] == ("gone", "the checkpoint of round 1, from which it started, is gone")
    assert found[3] == ("same", "")


def test_a_checkpoint_that_was_changed_differs_even_where_its_updates_are_gone(
    store: FolderStore, tmp_path: Path
) -> None:
    job = CommittedJob(store, tmp_path, rounds=4)
    for key in list(outdated(store, job.spec, None)):
        store.delete(key)
    flip_last_byte(store, keys.checkpoint(job.job, 1))
    flip_last_byte(store, keys.checkpoint(job.job, 4))
    found = {one.round: (one.state, one.reason) for one in verify(job, tmp_path)}
    assert found[1] == ("differs", "round 2 started from other bytes than those stored")
    assert found[4] == ("differs", "the checkpoint made again has other bytes")


def test_an_optimizers_state_that_was_changed_differs(store: FolderStore, tmp_path: Path) -> None:
    job = CommittedJob(store, tmp_path, rounds=2, strategy={"name": "fedadam"})
    flip_last_byte(store, keys.optimizer(job.job, 2))
    assert verify(job, tmp_path)[2] == Verdict(2, "differs", "the optimizer's state made again has other bytes")


def test_an_update_that_is_not_the_frozen_one_is_damaged_and_the_rest_is_verified(
    store: FolderStore, tmp_path: Path
) -> None:
    job = CommittedJob(store, tmp_path, rounds=3)
    flip_last_byte(store, keys.update(job.job, 2, "pool.default", "c000", "good"))
    found = verify(job, tmp_path)
    assert [one.state for one in found] == ["same", "same", "damaged", "same"]
    assert "c000" in found[2].reason


def test_an_update_that_is_collected_meanwhile_is_gone_and_not_damaged(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = CommittedJob(store, tmp_path, rounds=2)
    doomed, find = keys.update(job.job, 1, "pool.default", "c001", "good"), store.local_path

    def late(key: str) -> Path | None:
        if key == doomed:
            store.delete(key)
        return find(key)

    monkeypatch.setattr(store, "local_path", late)
    assert verify(job, tmp_path)[1] == Verdict(1, "gone", "the updates of c001 are gone")


def test_a_frozen_round_that_is_not_written_is_no_trouble(store: FolderStore, tmp_path: Path) -> None:
    job = CommittedJob(store, tmp_path, rounds=2)
    job.freeze(3)
    found = verify(job, tmp_path)
    assert found[-1].state == "unwritten"
    assert not any(one.trouble for one in found)


def test_the_command_says_each_round_and_its_exit_code_whether_bytes_differ(
    store: FolderStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = CommittedJob(store, tmp_path, rounds=2)
    words = ["job", "verify", job.job, "--store", str(tmp_path / "runs")]
    assert call(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{job.job}: 3 made again with the same bytes"
    flip_last_byte(store, keys.checkpoint(job.job, 2))
    assert call([*words, "--json"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["round"], row["state"]) for row in rows] == [(0, "same"), (1, "same"), (2, "differs")]


def test_verifying_leaves_the_store_as_it_was(store: FolderStore, tmp_path: Path) -> None:
    job = CommittedJob(store, tmp_path, rounds=2, strategy={"name": "fedadam"})
    before = {info.key: info.tag for info in store.list("")}
    verify(job, tmp_path)
    assert {info.key: info.tag for info in store.list("")} == before


def test_two_jobs_are_compared_round_by_round(
    store: FolderStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = CommittedJob(store, tmp_path, "lung-aaa111", rounds=2)
    CommittedJob(store, tmp_path, "lung-bbb222", rounds=3)
    assert list(compare(store, "lung-aaa111", "lung-bbb222")) == [Comparison(n, "same") for n in range(3)]
    words = ["job", "verify", "lung-b", "--against", "lung-a", "--store", str(tmp_path / "runs")]
    assert call(words) == 0
    assert "have the same bytes in 3 checkpoints" in capsys.readouterr().out
    flip_last_byte(store, keys.checkpoint(one.job, 1))
    store.delete(keys.checkpoint(one.job, 2))
    assert call(words) == 1
    assert "differ in 1 of 3 rounds" in capsys.readouterr().out
    assert [found.state for found in compare(store, "lung-aaa111", "lung-bbb222")] == ["same", "differs", "gone"]
