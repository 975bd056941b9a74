"""What may go of a job, and what never: retention, `job gc`, `job rm`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made.committed import CLIENTS, CommittedJob, spec_of

from warren.aggregator.collecting import outdated
from warren.aggregator.judging import OPEN_MAX, waiting
from warren.aggregator.retention import checkpoint_kept, outdated_by, remove, waste
from warren.cli.main import call
from warren.storage import keys
from warren.storage.documents import Control, Evaluation, read_document, write_document
from warren.storage.folder import FolderStore


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return FolderStore(tmp_path / "runs")


def rounds_of(found: list[str]) -> set[int]:
    return {name.round for name in map(keys.read_update, found) if name is not None}


def test_updates_before_the_kept_rounds_go_and_the_kept_stay(store: FolderStore, tmp_path: Path) -> None:
    job = CommittedJob(store, tmp_path, rounds=5)
    gone = [found.key for found in waste(store, job.spec)]
    assert rounds_of(gone) == {0, 1, 2, 3}
    assert len(gone) == 1 + 3 * len(CLIENTS)


def test_losing_and_late_attempts_of_kept_rounds_go(store: FolderStore, tmp_path: Path) -> None:
    job = CommittedJob(store, tmp_path, rounds=2)
    late = job.put_update(2, "c001", "late")
    found = {one.key: one.reason for one in waste(store, job.spec) if "00002" in one.key}
    assert found == {keys.update(job.job, 2, late.source, "c001", "late"): "did not count in round 2"}


def test_nothing_of_a_round_that_is_not_committed_goes(store: FolderStore, tmp_path: Path) -> None:
    job = CommittedJob(store, tmp_path, rounds=1, keep_updates=0)
    job.freeze(2)  # frozen, its checkpoint not written
    job.put_update(3, "c000", "early")
    job.end("cancel")
    assert rounds_of([found.key for found in waste(store, job.spec)]) == {0, 1}
    job.write(2)
    assert rounds_of([found.key for found in waste(store, job.spec)]) == {0, 1, 2}


def test_a_job_whose_first_model_is_not_written_yet_keeps_everything(store: FolderStore, tmp_path: Path) -> None:
    job = CommittedJob(store, tmp_path, rounds=1, keep_updates=0)
    for number in (0, 1):
        store.delete(keys.checkpoint(job.job, number))
    store.delete(keys.manifest(job.job, 1))
    assert list(waste(store, job.spec)) == []


@pytest.mark.parametrize(
    ("keep", "kept"),
    [("all", [0, 1, 2, 3, 4, 5]), ("1", [4, 5]), ("3", [3, 4, 5]), ("every 3", [0, 3, 4, 5])],
)
def test_checkpoints_are_kept_as_the_job_says_and_always_the_newest_two(
    store: FolderStore, tmp_path: Path, keep: str, kept: list[int]
) -> None:
    job = CommittedJob(store, tmp_path, rounds=5, keep_checkpoints=keep, strategy={"name": "fedadam"})
    job.evaluate_all()
    gone = {found.key for found in waste(store, job.spec)}
    assert [n for n in range(6) if keys.checkpoint(job.job, n) not in gone] == kept
    assert [n for n in range(1, 6) if keys.optimizer(job.job, n) not in gone] == [n for n in kept if n]


@pytest.mark.parametrize("keep", ["all", "1", "4", "every 2", "every 5"])
def test_collecting_round_by_round_comes_to_what_collecting_at_the_end_does(keep: str) -> None:
    spec = spec_of("lung-aaa111", 11, keep_checkpoints=keep)
    gone = {number for last in range(12) for number in outdated_by(spec, last)}
    assert gone == {number for number in range(12) if not checkpoint_kept(spec, number, 11)}


def test_the_commit_of_a_round_and_a_start_collect_the_same(store: FolderStore, tmp_path: Path) -> None:
    job = CommittedJob(store, tmp_path, rounds=4, keep_checkpoints="2")
    job.evaluate_all()
    by_commits = {key for number in range(5) for key in outdated(store, job.spec, number) if store.stat(key)}
    assert by_commits == set(outdated(store, job.spec, None))


def test_a_checkpoint_stays_until_it_was_evaluated(store: FolderStore, tmp_path: Path) -> None:
    job = CommittedJob(store, tmp_path, rounds=6, keep_checkpoints="2")
    for number in (1, 3):
        job.evaluate(number, 0.5)
    kept = [keys.checkpoint(job.job, number) for number in (2, 4, 5, 6)]
    for gone in (set(outdated(store, job.spec, 6)), set(outdated(store, job.spec, None))):
        assert [key for key in job.keys(keys.checkpoints(job.job)) if key not in gone] == kept
    job.evaluate(2, 0.5)
    assert keys.checkpoint(job.job, 2) in set(outdated(store, job.spec, 6))


def test_of_an_ended_job_nothing_waits_to_be_evaluated(store: FolderStore, tmp_path: Path) -> None:
    job = CommittedJob(store, tmp_path, rounds=4, keep_checkpoints="2")
    assert not [key for key in outdated(store, job.spec, None) if "checkpoints" in key and "00000" not in key]
    job.end("cancel")
    gone = [key for key in outdated(store, job.spec, None) if "checkpoints" in key]
    assert gone == [keys.checkpoint(job.job, number) for number in (0, 1, 2)]


@pytest.mark.parametrize(("every", "last", "due"), [(1, 4, {1, 2, 3, 4}), (3, 8, {3, 6}), (3, 10, {3, 6, 9, 10})])
def test_what_waits_to_be_evaluated_is_what_is_due_and_not_frozen(
    store: FolderStore, every: int, last: int, due: set[int]
) -> None:
    spec = spec_of("lung-aaa111", 10, evaluate={"every": every})
    assert waiting(store, spec, last) == due
    found = Evaluation(job=spec.job, round=6, held_out={}, held_out_examples=0)
    store.create(keys.evaluation(spec.job, 6), write_document(found))
    assert waiting(store, spec, last) == due - {6}


def test_an_evaluation_is_not_waited_for_longer_than_its_leader_does(store: FolderStore) -> None:
    spec = spec_of("lung-aaa111", 500, evaluate={"every": 2})
    assert waiting(store, spec, 400) == {400 - 2 * number for number in range(OPEN_MAX)}
    assert waiting(store, spec_of("lung-aaa111", 500, evaluate={"every": 0}), 400) == frozenset()
    assert waiting(store, spec_of("lung-aaa111", 500, evaluate={"share": 0.0, "held_out": False}), 400) == frozenset()


def test_commits_collect_what_clients_no_longer_start_from(store: FolderStore, tmp_path: Path) -> None:
    absent = {(1, "c000"), (2, "c001"), (3, "c002"), (4, "c002")}
    job = CommittedJob(store, tmp_path, rounds=5, keep_updates=1, absent=absent, strategy={"name": "feddyn"})
    job.evaluate_all()
    by_commits = {key for number in range(6) for key in outdated(store, job.spec, number) if "/clients/" in key}
    left = sorted(set(job.keys(keys.client_states(job.job))) - by_commits)
    good, lost = ([keys.client_state(job.job, *at, attempt) for at in which] for attempt, which in (
        ("good", [("c000", 4), ("c000", 5), ("c001", 4), ("c001", 5), ("c002", 2), ("c002", 5)]),
        ("lost", [("c002", 3), ("c002", 4)]),
    ))  # fmt: skip
    assert left == sorted([*good, *lost])  # what is lost goes when its client counts again, and that is old
    gone = {found.key for found in waste(store, job.spec) if "/clients/" in found.key}
    assert gone == by_commits | set(lost)


def test_state_of_attempts_that_did_not_count_goes_and_what_a_fork_copied_stays(
    store: FolderStore, tmp_path: Path
) -> None:
    job = CommittedJob(store, tmp_path, rounds=2)
    for number, attempt in ((0, "copied"), (1, "good"), (1, "lost"), (3, "open")):
        store.create(keys.client_state(job.job, "c001", number, attempt), b"state")
    gone = [found.key for found in waste(store, job.spec) if "/clients/" in found.key]
    assert gone == [keys.client_state(job.job, "c001", 1, "lost")]


def test_client_states_stay_as_long_as_a_kept_round_started_from_them(store: FolderStore, tmp_path: Path) -> None:
    absent = {(number, "c002") for number in (2, 3, 4, 5)}
    job = CommittedJob(store, tmp_path, rounds=5, keep_updates=2, absent=absent, strategy={"name": "feddyn"})
    job.evaluate_all()
    gone = {found.key for found in waste(store, job.spec) if "/clients/" in found.key}
    kept = sorted(set(job.keys(keys.client_states(job.job))) - gone)
    assert kept == [
        *(keys.client_state(job.job, client, number, "good") for client in ("c000", "c001") for number in (3, 4, 5)),
        keys.client_state(job.job, "c002", 1, "good"),
    ]


def test_a_dry_run_lists_keys_and_bytes_and_deletes_nothing(
    store: FolderStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = CommittedJob(store, tmp_path, rounds=3)
    before = job.keys("")
    root = str(tmp_path / "runs")
    assert call(["job", "gc", "--dry-run", "--store", root]) == 0
    shown = capsys.readouterr().out
    assert keys.update(job.job, 1, "pool.default", "c002", "good") in shown
    assert shown.splitlines()[-1] == f"would free {_total(store, job, shown)} in 4 objects"
    assert job.keys("") == before


def _total(store: FolderStore, job: CommittedJob, shown: str) -> str:
    sizes = [info.size for info in store.list("updates/") if info.key in shown]
    return f"{sum(sizes) / 1000:.3g} kB"


def test_gc_deletes_what_the_dry_run_listed_and_leaves_a_job_that_verifies(
    store: FolderStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = CommittedJob(store, tmp_path, rounds=3)
    root = str(tmp_path / "runs")
    assert call(["job", "gc", job.job, "--dry-run", "--json", "--store", root]) == 0
    listed = {json.loads(line)["key"] for line in capsys.readouterr().out.splitlines()}
    before = set(job.keys(""))
    assert call(["job", "gc", job.job, "--store", root]) == 0
    assert before - set(job.keys("")) == listed
    assert call(["job", "gc", "--store", root]) == 0
    assert "freed 0 B in 0 objects" in capsys.readouterr().out
    assert call(["job", "verify", job.job, "--store", root]) == 0


def test_updates_of_a_removed_job_are_collected_and_half_jobs_are_named(
    store: FolderStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = CommittedJob(store, tmp_path, rounds=1)
    store.create(keys.update("gone-1", 3, "pool.default", "c000", "late"), b"late")
    store.create(keys.task("half-1", "lung.py"), b"source")
    assert call(["job", "gc", "--store", str(tmp_path / "runs")]) == 0
    said = capsys.readouterr()
    assert "in 1 objects" in said.out
    assert "half-1 has no job.json" in said.err
    assert job.keys("updates/gone-1") == []
    assert call(["job", "rm", "half-1", "--store", str(tmp_path / "runs")]) == 0
    assert job.keys("jobs/half-1") == []


def test_a_job_that_is_not_over_is_not_removed(
    store: FolderStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = CommittedJob(store, tmp_path, rounds=1)
    before = job.keys("")
    assert call(["job", "rm", job.job, "--store", str(tmp_path / "runs")]) == 1
    assert f"warren: {job.job} is not over. `warren job cancel" in capsys.readouterr().err
    assert job.keys("") == before
    assert call(["job", "rm", job.job, "--force", "--store", str(tmp_path / "runs")]) == 0
    assert job.keys("") == []


def test_a_removing_that_breaks_off_anywhere_leaves_no_job_that_would_be_led_again(tmp_path: Path) -> None:
    total = None
    for stop_after in range(200):
        store = FolderStore(tmp_path / str(stop_after))
        job = CommittedJob(store, tmp_path, rounds=1)
        job.end()
        removing = remove(store, job.job)
        done = sum(1 for _ in zip(range(stop_after), removing, strict=False))
        removing.close()  # type: ignore[attr-defined]
        if store.stat(keys.spec(job.job)) is not None:
            key = keys.control(job.job, 1)
            assert read_document(Control, store.read(key), key).command == "done"
        list(remove(store, job.job))  # again, to the end
        assert job.keys("") == []
        if done < stop_after:
            total = done
            break
    assert total is not None
