"""How much a job can come to hold, and the warning before the store is full."""

from __future__ import annotations

from pathlib import Path

import pytest
from made.committed import CommittedJob, spec_of

from warren.aggregator.collecting import outdated
from warren.aggregator.holding import Most, most_held, still_to_come
from warren.cli.main import call
from warren.cli.room_watch import LOOK_SECONDS, RoomWatch, formula, room_warnings
from warren.storage import keys
from warren.storage.documents import Base, Manifest
from warren.storage.folder import FolderStore
from warren.storage.job import JobSpec
from warren.storage.s3_space import read_metrics
from warren.storage.space import Space, space_of

JOB = "lung-aaa111"
MODEL = 10_000_000


def last(number: int) -> Manifest:
    return Manifest(job=JOB, round=number, entries=(), base=Base(key="k", digest="0" * 64, size=MODEL))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Most(updates=3 * 4, checkpoints=21 + 2, states=0)),
        ({"keep_updates": 0}, Most(updates=3 * 2, checkpoints=23, states=0)),
        ({"keep_checkpoints": "5"}, Most(updates=12, checkpoints=6 + 2, states=0)),
        ({"keep_checkpoints": "every 10"}, Most(updates=12, checkpoints=6 + 2, states=0)),
        ({"strategy": {"name": "fedadam"}}, Most(updates=12, checkpoints=23, states=42)),
        ({"fraction": 0.4, "over_select": 1, "quorum": 1}, Most(updates=2 * 4, checkpoints=23, states=0)),
        ({"fraction": 0.4, "quorum": 1, "below_quorum": "resample"}, Most(updates=12, checkpoints=23, states=0)),
        ({"rounds": 1}, Most(updates=3 + 1, checkpoints=2 + 2, states=0)),
    ],
)
def test_the_bound_follows_from_the_job(fields: dict[str, object], expected: Most) -> None:
    assert most_held(spec_of(JOB, **{"rounds": 20, **fields})) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("keep", ["all", "1", "3", "every 2"])
@pytest.mark.parametrize("keep_updates", [0, 1, 9])
def test_a_job_never_holds_more_than_it_said(tmp_path: Path, keep: str, keep_updates: int) -> None:
    """Each round is collected only when the next one is all there: as late as it may be."""
    store = FolderStore(tmp_path / "runs")
    job = CommittedJob(store, tmp_path, rounds=5, keep_updates=keep_updates, keep_checkpoints=keep)
    most, model = most_held(job.spec), store.stat(keys.checkpoint(JOB, 0))
    assert model is not None
    held: dict[str, int] = {}
    for number in range(6):
        for info in [*store.list(keys.updates(JOB, number)), *store.list(keys.checkpoint(JOB, number))]:
            held[info.key] = info.size
        assert sum(held.values()) <= most.size(model.size)
        for key in outdated(store, job.spec, number - 1) if number else ():
            held.pop(key, None)


def test_what_is_still_to_come_shrinks_with_the_rounds() -> None:
    for fields in ({}, {"keep_checkpoints": "3"}, {"strategy": {"name": "fedyogi"}}):
        spec = spec_of(JOB, 20, **fields)
        coming = [still_to_come(spec, number) for number in range(21)]
        assert coming == sorted(coming, reverse=True)
        assert coming[0] <= most_held(spec).models


def test_a_job_that_may_not_fit_is_warned_of_before_the_store_is_full() -> None:
    spec = spec_of(JOB, 100)
    (warning,) = room_warnings(spec, last(10), Space(800_000_000, 10**12))
    assert "the store has 800 MB left, and this job may write 980 MB more" in warning
    assert room_warnings(spec, last(40), Space(800_000_000, 10**12)) == ()


def test_a_store_that_is_nearly_full_is_named_whatever_the_job_needs() -> None:
    assert room_warnings(spec_of(JOB, 2), None, Space(1000, 10**12)) == ("the store has only 1 kB left",)
    assert room_warnings(spec_of(JOB, 2), None, Space(10**12, 10**13)) == ()


class CountingStore(FolderStore):
    looks = 0

    def space(self) -> Space | None:
        self.looks += 1
        return Space(1000, 10**12) if self.looks == 1 else None


def test_the_store_is_asked_seldom_and_one_that_does_not_say_is_no_warning(tmp_path: Path) -> None:
    store, now = CountingStore(tmp_path), [0.0]
    watch = RoomWatch(store, spec_of(JOB, 2), clock=lambda: now[0])
    assert len(watch.warnings(None)) == 1
    now[0] = LOOK_SECONDS / 2
    assert len(watch.warnings(None)) == 1
    assert store.looks == 1
    now[0] = LOOK_SECONDS
    assert watch.warnings(None) == ()


def test_a_folder_says_its_room_and_a_store_that_cant_says_nothing(tmp_path: Path) -> None:
    space = space_of(FolderStore(tmp_path))
    assert space is not None
    assert 0 < space.free <= space.total
    assert space_of(object()) is None


METRICS = b"""# HELP minio_cluster_capacity_usable_free_bytes Total free usable capacity
# TYPE minio_cluster_capacity_usable_free_bytes gauge
minio_cluster_capacity_usable_free_bytes{server="127.0.0.1:9000"} 1.5e+10
minio_cluster_capacity_usable_total_bytes{server="127.0.0.1:9000"} 4e+10
"""


def test_minios_room_is_read_from_its_metrics() -> None:
    assert read_metrics(METRICS) == Space(15_000_000_000, 40_000_000_000)


@pytest.mark.parametrize(
    "body",
    [b"", METRICS.splitlines()[2], METRICS.replace(b"4e+10", b"NaN"), METRICS.replace(b"4e+10", b"1e300"), b"\xff{} x"],
)
def test_metrics_that_say_no_room_are_no_room(body: bytes) -> None:
    assert read_metrics(body) is None


def test_a_job_says_the_most_it_can_hold_in_models_and_then_in_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    spec: JobSpec = spec_of(JOB, 20)
    assert formula(spec) == "holds at most 35 MB for each MB of the model (12 updates, 23 checkpoints)"
    job = CommittedJob(FolderStore(tmp_path / "runs"), tmp_path, rounds=2)
    assert call(["job", "show", job.job, "--store", str(tmp_path / "runs")]) == 0
    model = job.store.stat(keys.checkpoint(JOB, 0))
    assert model is not None
    assert f"12 models of {model.size} B" in capsys.readouterr().out
