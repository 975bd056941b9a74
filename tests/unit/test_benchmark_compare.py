"""benchmarks/compare.py: what counts as moved, and that the committed results can be read by it."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module("compare")
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def spread(median: float, least: float, most: float) -> dict[str, float]:
    return {"median": median, "min": least, "max": most}


ONE = spread(1.0, 0.9, 1.1)


def test_a_ratio_moved_only_when_the_spreads_of_the_two_runs_do_not_meet(compare: Any) -> None:
    committed = compare.Ratio("r", spread(2.0, 1.8, 2.2), ONE)
    assert compare.verdict(committed, compare.Ratio("r", spread(2.5, 2.1, 2.6), ONE)) == "as before"
    assert compare.verdict(committed, compare.Ratio("r", spread(3.0, 2.9, 3.1), ONE)) == "worse"
    assert compare.verdict(committed, compare.Ratio("r", spread(1.2, 1.1, 1.3), ONE)) == "better"


def test_of_a_rate_more_is_better(compare: Any) -> None:
    committed = compare.Ratio("r", spread(0.5, 0.45, 0.55), ONE, less_is_better=False)
    assert compare.verdict(committed, compare.Ratio("r", ONE, ONE, less_is_better=False)) == "better"


def test_another_machine_s_speed_cancels(compare: Any) -> None:
    committed = compare.Ratio("r", spread(2.0, 1.9, 2.1), ONE)
    slower = compare.Ratio("r", spread(20.0, 19.0, 21.0), spread(10.0, 9.0, 11.0))
    assert compare.verdict(committed, slower) == "as before"


def test_a_row_of_one_side_alone_is_named(compare: Any) -> None:
    rows = compare.compared({}, {"r": compare.Ratio("r", ONE, ONE)})
    assert rows[0][3] == "nothing to compare with"


def test_the_committed_results_give_ratios_that_agree_with_themselves(compare: Any) -> None:
    found = compare.ratios(BENCHMARKS / "results")
    assert any("10 x 10 MB fp32: servers / floor" in label for label in found)
    assert {row[3] for row in compare.compared(found, found)} == {"as before"}


@pytest.mark.parametrize(("strict", "ended"), [((), 0), (("--strict",), 1)])
def test_it_fails_only_when_strict_and_something_is_worse(tmp_path: Path, strict: tuple[str, ...], ended: int) -> None:
    for place, median in (("committed", 1.0), ("now", 9.0)):
        row = {"dtype": "fp32", "servers": spread(median, median - 0.1, median + 0.1), "floor": ONE}
        (tmp_path / place).mkdir()
        (tmp_path / place / "gradient_step.json").write_text(json.dumps({"rows": [row]}))
    folders = ["--committed", str(tmp_path / "committed"), "--now", str(tmp_path / "now")]
    command = [sys.executable, str(BENCHMARKS / "compare.py"), *folders, *strict]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == ended, done.stderr
    assert "worse: a gradient step, fp32: servers / floor" in done.stdout
