"""benchmarks/peers.py: what a runner of another framework says; one that fails or hangs is named, not waited for."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module("peers")
    monkeypatch.setattr(module, "RUNNERS", tmp_path)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(module.environments, "missing", lambda peer: "")
    monkeypatch.setattr(module.environments, "python", lambda peer: Path(sys.executable))
    yield module
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def runner(folder: Path, text: str) -> None:
    (folder / "rounds_pfl.py").write_text(text)


def test_the_warm_up_is_left_out_of_what_a_runner_says(peers: Any, tmp_path: Path) -> None:
    said = json.dumps({"seconds": [9.0, 1.0, 2.0, 3.0, 4.0, 5.0], "version": "pfl 0"})
    runner(tmp_path, f"print('noise'); print('{said}')")
    found = peers.run("pfl", 1000, 10)
    assert (found["seconds"]["median"], found["seconds"]["max"]) == (3.0, 5.0)


def test_one_that_fails_is_named_with_its_last_words(peers: Any, tmp_path: Path) -> None:
    runner(tmp_path, "raise SystemExit('no room')")
    assert peers.run("pfl", 1000, 10) == {"not_run": "failed: no room"}


def test_one_that_hangs_is_ended_with_all_that_it_started(
    peers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "COURSE_SECONDS", 3)
    said = tmp_path / "child"
    child = "import subprocess, sys\np = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
    runner(tmp_path, f"{child}open({str(said)!r}, 'w').write(str(p.pid))\np.wait()")
    assert peers.run("pfl", 1000, 10) == {"not_run": "failed: not done after 3 s"}
    psutil.wait_procs([psutil.Process(int(said.read_text()))] if psutil.pid_exists(int(said.read_text())) else [], 5)
    assert not psutil.pid_exists(int(said.read_text()))


def test_a_size_that_was_not_run_is_said_so_in_the_table(peers: Any) -> None:
    row = {"peer": "pfl", "size": "1 MB", "seconds": {"median": 1.0, "min": 1.0, "max": 1.0}}
    shown = peers.as_table([row | {"peak_mib": 7, "version": "pfl 0"}]).splitlines()[-1]
    assert shown.startswith("| 1 MB fp32 | not run | not run | not run |")
    assert shown.endswith("| 1 (1 to 1); 7 |")
