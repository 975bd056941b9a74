"""benchmarks/targets.py and full.py: what counts as met, and that a sequence goes on where it stopped."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Imports a module of the benchmarks, for the test alone."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def row(size: str, servers: float) -> dict[str, Any]:
    spreads = {"servers": {"median": servers}, "floor": {"median": 1.0}, "embedded": {"median": 1.0}}
    return {"size": size, "dtype": "fp32", "scratch": "disk"} | spreads


def verdicts(targets: Any, found: dict[str, Any]) -> dict[str, str]:
    return {one.what: one.verdict for one in targets.targets(found)}


def test_a_target_is_met_up_to_its_bound_and_missed_beyond(load: Callable[[str], Any]) -> None:
    found = {"round_overhead": {"rows": [row("10 MB", 1.25), row("100 MB", 1.26)]}}
    said = verdicts(load("targets"), found)
    assert said["10 x 10 MB fp32 over servers, times the floor"] == "met"
    assert said["10 x 100 MB fp32 over servers, times the floor"] == "**missed**"


def test_what_was_not_measured_is_neither_met_nor_missed(load: Callable[[str], Any]) -> None:
    assert set(verdicts(load("targets"), {}).values()) == {"not measured"}


def test_a_framework_that_did_not_run_is_not_beaten(load: Callable[[str], Any]) -> None:
    peers = {"rows": [{"size": "100 MB", "peer": "flower-deployment", "not_run": "not installed (make peers)"}]}
    said = verdicts(load("targets"), {"round_overhead": {"rows": [row("100 MB", 1.0)]}, "peers": peers})
    assert said["10 x 100 MB over servers: rounds in one of Flower's deployment"] == "not measured"


def test_every_link_of_the_table_leads_to_a_heading_of_the_page(load: Callable[[str], Any]) -> None:
    targets = load("targets")
    lines = (ROOT / "docs" / "performance.md").read_text().splitlines()
    headings = {line.removeprefix("## ") for line in lines if line.startswith("## ")}
    assert set(targets.PARTS.values()) <= headings


def test_a_sequence_goes_on_after_the_parts_that_are_done_and_says_what_is_left(
    load: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = load("full")
    ran: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        ran.append(command[1:])
        return subprocess.CompletedProcess(command, int(command[-1] == "broken"))

    monkeypatch.setattr(full, "STAMPS", tmp_path)
    monkeypatch.setattr(full.subprocess, "run", run)
    parts = [full.Part("done", 1, "a"), full.Part("new", 1, "b"), full.Part("ill", 1, "c", ("broken",))]
    (tmp_path / "done").touch()
    ended = [full.done(part, float("inf")) for part in [*parts, full.Part("late", 1, "d")]]
    assert ended == [True, True, False, True]
    scripts = [Path(command[0]).name for command in ran]
    assert scripts == ["b.py", "tables.py", "c.py", "d.py", "tables.py"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["done", "late", "new"]
    assert not full.done(full.Part("long", 1, "e"), 0.0)


def test_older_rows_are_put_away_and_come_back_where_nothing_was_measured(
    load: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = load("full")
    results = tmp_path / "results"
    results.mkdir()
    monkeypatch.setattr(full, "STAMPS", tmp_path / "stamps")
    monkeypatch.setattr(full.report, "RESULTS", results)
    for name in ("round_overhead", "peers", "fold"):
        (results / f"{name}.json").write_text("old")
    full.begin()
    full.put_away()
    assert [path.name for path in results.iterdir()] == ["fold.json"]
    (results / "peers.json").write_text("new")
    full.restore()
    told = {path.stem: path.read_text() for path in results.iterdir()}
    assert told == {"round_overhead": "old", "peers": "new", "fold": "old"}
    full.put_away()
    assert sorted(path.stem for path in results.iterdir()) == ["fold", "peers"]


def test_a_part_that_runs_again_by_itself_leaves_the_rows_of_others(
    load: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = load("full")
    monkeypatch.setattr(full, "STAMPS", tmp_path / "stamps")
    monkeypatch.setattr(full.report, "RESULTS", tmp_path)
    (tmp_path / "round_overhead.json").write_text("old")
    one, other = full.PARTS[:2]
    full.start(list(full.PARTS), again=False, whole=True)
    assert not (tmp_path / "round_overhead.json").exists()
    full.restore()
    for part in (one, other):
        (full.STAMPS / part.name).touch()
    full.start([one], again=True, whole=False)
    assert (tmp_path / "round_overhead.json").read_text() == "old"
    assert [path.name for path in full.STAMPS.iterdir() if path.is_file()] == [other.name]
