"""Forking: a whole new job from an old round, or none; what is copied, what may be other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from made.committed import TASK, CommittedJob, spec_of

from warren.aggregator.client_states import ClientStates, states_in
from warren.aggregator.forking import fork
from warren.aggregator.record import Record
from warren.aggregator.retention import waste
from warren.aggregator.verifying import Verifying
from warren.cli.main import call
from warren.storage import keys
from warren.storage.digests import digest_file
from warren.storage.documents import Manifest, read_document
from warren.storage.errors import ObjectDamaged, ObjectMissing, StorageRefused, StorageUnavailable
from warren.storage.folder import FolderStore
from warren.storage.job import JobSpec, read_spec

NEW = "lung-new001"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return FolderStore(tmp_path / "runs")


@pytest.fixture
def job(store: FolderStore, tmp_path: Path) -> CommittedJob:
    made = CommittedJob(store, tmp_path, rounds=4, strategy={"name": "fedadam"})
    made.end()
    return made


def forked(job: CommittedJob, tmp_path: Path, at: int = 2, new: str = NEW) -> Manifest:
    spec = spec_of(new, 2, strategy={"name": "fedadam"})
    return fork(job.store, job.job, at, spec, TASK, tmp_path / "spool")


def new_spec(store: FolderStore, old: str) -> JobSpec:
    (new,) = [name for name in store.folders("jobs/") if name != old]
    return read_spec(store.read(keys.spec(new)))


def test_a_fork_starts_from_copies_and_names_where_they_came_from(
    store: FolderStore, job: CommittedJob, tmp_path: Path
) -> None:
    forked(job, tmp_path)
    assert store.read(keys.checkpoint(NEW, 0)) == store.read(keys.checkpoint(job.job, 2))
    assert store.read(keys.optimizer(NEW, 0)) == store.read(keys.optimizer(job.job, 2))
    key = keys.manifest(NEW, 0)
    assert read_document(Manifest, store.read(key), key).forked_from == {
        "job": job.job,
        "round": "2",
        "checkpoint": digest_file(store.local_path(keys.checkpoint(NEW, 0))),
        "optimizer": digest_file(store.local_path(keys.optimizer(NEW, 0))),
    }


def test_a_fork_verifies_and_a_changed_copy_does_not(store: FolderStore, job: CommittedJob, tmp_path: Path) -> None:
    forked(job, tmp_path)
    spec = read_spec(store.read(keys.spec(NEW)))
    with Verifying(store, spec, tmp_path / "verify") as verifying:
        (verdict,) = verifying.run()
    assert (verdict.state, verdict.reason) == ("same", f"copied from round 2 of {job.job}")
    store.delete(keys.checkpoint(NEW, 0))
    store.create(keys.checkpoint(NEW, 0), store.read(keys.checkpoint(job.job, 3)))
    with Verifying(store, spec, tmp_path / "verify") as verifying:
        assert [one.state for one in verifying.run()] == ["differs"]


def test_state_of_each_client_is_what_last_counted_up_to_that_round(store: FolderStore, tmp_path: Path) -> None:
    absent = {(2, "c000"), (1, "c002"), (2, "c002")}
    job = CommittedJob(store, tmp_path, rounds=3, absent=absent, strategy={"name": "feddyn"})
    manifest = forked(job, tmp_path)
    copied = {info.key: store.read(info.key) for info in store.list(keys.client_states(NEW))}
    assert copied == {
        keys.client_state(NEW, "c000", 0, "good"): b"c000 1 good",
        keys.client_state(NEW, "c001", 0, "good"): b"c001 2 good",
    }
    assert {name for name in manifest.forked_from if name.startswith("client ")} == {"client c000", "client c001"}
    spec = spec_of(NEW, 2, strategy={"name": "feddyn"})
    states = ClientStates(spec)
    states.resume(lambda number: states_in(store, Record(store, NEW), number), 0)
    assert [state.base.key for state in states.newest()] == sorted(copied)


def test_a_fork_of_a_fork_copies_what_was_copied(store: FolderStore, tmp_path: Path) -> None:
    job = CommittedJob(store, tmp_path, rounds=2, strategy={"name": "feddyn"})
    once = spec_of(NEW, 2, strategy={"name": "feddyn"})
    fork(store, job.job, 2, once, TASK, tmp_path / "spool")
    again = fork(store, NEW, 0, spec_of("lung-new002", 2, strategy={"name": "feddyn"}), TASK, tmp_path / "spool")
    assert store.read(keys.client_state("lung-new002", "c001", 0, "good")) == b"c001 2 good"
    assert "client c001" in again.forked_from


def test_a_round_whose_client_states_were_collected_is_not_forked(store: FolderStore, tmp_path: Path) -> None:
    job = CommittedJob(store, tmp_path, rounds=5, strategy={"name": "feddyn"})
    job.evaluate_all()
    for gone in list(waste(store, job.spec)):
        store.delete(gone.key)
    with pytest.raises(ObjectMissing, match="keep_updates"):
        forked(job, tmp_path, at=2)
    assert not list(store.list(keys.manifests(NEW)))
    forked(job, tmp_path, at=3, new="lung-new002")


def test_a_fork_that_breaks_off_anywhere_leaves_no_job(
    store: FolderStore, job: CommittedJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, tries = store.create, 0
    for survive in range(20):
        left = [survive]

        def breaking(key: str, *args: object, left: list[int] = left, **more: object) -> bool:
            if not left[0]:
                raise StorageUnavailable("gone")
            left[0] -= 1
            return create(key, *args, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(store, "create", breaking)
        new = f"lung-try{survive:03}"
        try:
            forked(job, tmp_path, new=new)
        except StorageUnavailable:
            assert store.stat(keys.spec(new)) is None
            tries += 1
            continue
        assert store.stat(keys.spec(new)) is not None
        break
    assert tries == 5  # task, optimizer, checkpoint, manifest, job.json


def test_an_id_that_is_taken_is_refused(store: FolderStore, job: CommittedJob, tmp_path: Path) -> None:
    forked(job, tmp_path)
    with pytest.raises(StorageRefused, match="another job has this id"):
        forked(job, tmp_path)


def test_a_round_without_a_checkpoint_is_refused_with_those_there_are(
    store: FolderStore, job: CommittedJob, tmp_path: Path
) -> None:
    with pytest.raises(ObjectMissing, match="no checkpoint of round 7; it has 0 to 4"):
        forked(job, tmp_path, at=7)
    store.delete(keys.checkpoint(job.job, 1))
    with pytest.raises(ObjectMissing, match="no checkpoint of round 1; it has 0, 2, 3, 4"):
        forked(job, tmp_path, at=1)


def test_a_checkpoint_that_is_not_what_the_next_round_started_from_is_not_forked(
    store: FolderStore, job: CommittedJob, tmp_path: Path
) -> None:
    store.delete(keys.checkpoint(job.job, 2))
    store.create(keys.checkpoint(job.job, 2), store.read(keys.checkpoint(job.job, 3)))
    with pytest.raises(ObjectDamaged, match="not what the round after it started from"):
        forked(job, tmp_path)
    assert store.stat(keys.spec(NEW)) is None


def test_the_command_takes_over_the_settings_and_changes_what_it_is_told(
    store: FolderStore, job: CommittedJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["job", "fork", job.job, "--at", "1", "--set", "train.lr=0.01", "-P", "hidden=8", "--name", "try"]
    assert call([*words, "--store", str(tmp_path / "runs")]) == 0
    new = new_spec(store, job.job)
    said = capsys.readouterr()
    assert said.out.strip() == new.job
    assert f"warren run --resume {new.job} --store" in said.err
    assert new.job.startswith("try-")
    assert new.rounds == 3  # those that were left
    changed = {"job", "submitted", "rounds", "train", "params"}
    assert new.model_dump(exclude=changed) == job.spec.model_dump(exclude=changed)
    assert (new.train.lr, new.params) == (0.01, {"hidden": 8})


def test_a_fork_may_bring_a_mended_task(
    store: FolderStore, job: CommittedJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mended = TASK + b"# mended\n"
    (tmp_path / "lung.py").write_bytes(mended)
    words = ["job", "fork", job.job, "--at", "1", "--set", "task=lung.py", "--store", str(tmp_path / "runs")]
    assert call(words) == 0
    new = new_spec(store, job.job)
    assert store.read(keys.task(new.job, "lung.py")) == mended
    assert new.task.digest != job.spec.task.digest


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["--at", "4"], 2, "so none is left after 4. Say how many: --set rounds=10"),
        (["--at", "9"], 1, "no checkpoint of round 9; it has 0 to 4"),
        (["--at", "1", "--set", "quorum=9"], 2, "--set quorum: quorum 9 is more than the 3 clients"),
        (["--at", "1", "--set", "trian.lr=1"], 2, "no such key"),
        ([], 2, "--at"),
    ],
)
def test_mistakes_are_answered_in_a_line_and_make_no_job(
    store: FolderStore,
    job: CommittedJob,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    expected: str,
) -> None:
    assert call(["job", "fork", job.job, *words, "--store", str(tmp_path / "runs")]) == code
    assert expected in capsys.readouterr().err
    assert list(store.folders("jobs/")) == [job.job]


def test_a_task_that_is_not_what_the_job_names_is_not_forked(
    store: FolderStore, job: CommittedJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.delete(keys.task(job.job, "lung.py"))
    store.create(keys.task(job.job, "lung.py"), TASK + b"# tampered")
    assert call(["job", "fork", job.job, "--at", "1", "--store", str(tmp_path / "runs")]) == 1
    assert "is not the source that the job names" in capsys.readouterr().err


def test_a_dry_run_shows_the_job_and_stores_nothing(
    store: FolderStore, job: CommittedJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["job", "fork", job.job, "--at", "1", "--set", "rounds=7", "--dry-run", "--json"]
    assert call([*words, "--store", str(tmp_path / "runs")]) == 0
    assert json.loads(capsys.readouterr().out)["rounds"] == 7
    assert list(store.folders("jobs/")) == [job.job]


def test_a_fork_is_shown_with_where_it_came_from(
    store: FolderStore, job: CommittedJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forked(job, tmp_path)
    assert call(["job", "show", NEW, "--store", str(tmp_path / "runs")]) == 0
    assert f"forked from round 2 of {job.job}" in capsys.readouterr().out


def test_a_fork_needs_nothing_of_its_source(store: FolderStore, job: CommittedJob, tmp_path: Path) -> None:
    forked(job, tmp_path)
    shutil.rmtree(tmp_path / "runs" / "jobs" / job.job)
    with Verifying(store, read_spec(store.read(keys.spec(NEW))), tmp_path / "verify") as verifying:
        assert [one.state for one in verifying.run()] == ["same"]
