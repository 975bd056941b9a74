"""Two jobs side by side: what differs is named, what does not is left out, the curves are drawn."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from made.committed import TASK, CommittedJob

from warren.cli.main import call
from warren.cli.rerun import differing
from warren.storage import keys
from warren.storage.folder import FolderStore
from warren.storage.job import read_spec, write_spec

ONE, OTHER = "lung-aaa111", "lung-bbb222"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    store = FolderStore(tmp_path / "runs")
    CommittedJob(store, tmp_path, ONE, rounds=2, train={"lr": 0.1}).evaluate(2, 0.9)
    CommittedJob(store, tmp_path, OTHER, rounds=3, train={"lr": 0.05}, params={"hidden": 8}).evaluate(3, 0.95)
    return str(tmp_path / "runs")


def facts(root: str, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    assert call(["job", "diff", "lung-a", "lung-b", "--json", "--store", root]) == 0
    found: dict[str, dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


def test_only_the_settings_that_differ_are_named(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert facts(root, capsys)["settings"] == {
        "rounds": [2, 3],
        "train.lr": [0.1, 0.05],
        "params.hidden": [None, 8],
    }


def test_metrics_stand_side_by_side(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = facts(root, capsys)["metrics"]
    assert metrics["held-out accuracy"] == [0.9, 0.95]
    assert metrics["rounds"] == [2, 3]


def test_code_that_differs_is_shown_line_by_line(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert facts(root, capsys)["code"]["lines"] == []
    store, mended = FolderStore(Path(root)), TASK + b"EXTRA = '\x1b[31m'\n"
    spec = read_spec(store.read(keys.spec(OTHER)))
    task = spec.task.model_copy(update={"digest": hashlib.sha256(mended).hexdigest()})
    for key, body in (
        (keys.task(OTHER, "lung.py"), mended),
        (keys.spec(OTHER), write_spec(spec.model_copy(update={"task": task}))),
    ):
        store.delete(key)
        store.create(key, body)
    assert call(["job", "diff", ONE, OTHER, "--store", root]) == 0
    shown = capsys.readouterr().out
    assert "+EXTRA = '\N{REPLACEMENT CHARACTER}[31m'" in shown
    assert "\x1b" not in shown


def test_ids_stand_over_the_columns_as_they_are(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["job", "diff", ONE, OTHER, "--store", root]) == 0
    shown = capsys.readouterr().out
    assert f"{ONE}  {OTHER}" in shown
    assert "environment\nthe same" in shown


def test_both_curves_are_drawn_into_one_picture(root: str, tmp_path: Path) -> None:
    assert call(["job", "diff", ONE, OTHER, "-o", str(tmp_path / "both.png"), "--store", root]) == 0
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cant_be_written_is_a_line(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["job", "diff", ONE, OTHER, "-o", "/proc/none/both.png", "--store", root]) != 0
    assert "warren: can't write /proc/none/both.png" in capsys.readouterr().err


def test_versions_that_differ_are_named_and_unknown_ones_are_not() -> None:
    recorded = {"torch": ("2.8.0",), "cpu": ("AVX2",), "warren": ("0.1.0", "0.2.0")}
    now = {"torch": "2.9.1", "cpu": "AVX2", "warren": "0.2.0", "other": "1"}
    assert differing(recorded, now) == {"torch": ("2.8.0", "2.9.1"), "warren": ("0.1.0, 0.2.0", "0.2.0")}
