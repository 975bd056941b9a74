"""benchmarks/fold.py: contenders give the true average, and what is not run is named with its reason."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
ITEMS = 20_000


@pytest.fixture
def fold(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(BENCHMARKS / "runners")
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module("fold")
    monkeypatch.setattr(module, "ITEMS", ITEMS)
    yield module
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize("runner", ["fold_ours", "fold_files"])
def test_our_fold_gives_the_average_of_the_reference(fold: Any, runner: str) -> None:
    one = next(one for one in fold.CONTENDERS if one.runner == runner)
    found = fold.measured(one, 9, 4, 2)
    assert len(found["rates"]) == 2
    assert min(found["rates"]) > 0


def test_another_average_than_the_reference_s_is_not_let_pass(fold: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = [1.0] * fold.folded.LAYERS
    monkeypatch.setattr(fold, "run", lambda *_: {"seconds": [1.0], "beyond_mib": 0.0, "sample": sample})
    ours = next(one for one in fold.CONTENDERS if one.runner == "fold_ours")
    with pytest.raises(AssertionError, match="another average"):
        fold.measured(ours, 9, 4, 1)


def test_reading_alone_is_measured_and_is_no_average(fold: Any) -> None:
    reading = next(one for one in fold.CONTENDERS if one.options == ("read",))
    assert min(fold.measured(reading, 3, 3, 2)["rates"]) > 0


def test_a_framework_that_is_not_installed_is_named_in_the_table(
    fold: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fold.environments, "FOLDER", tmp_path)
    flower = next(one for one in fold.CONTENDERS if one.peer == "flower")
    row = {"label": flower.label, "not_run": fold.refusal(flower, 10, 10, 6.0)}
    shown = fold.as_table([{"updates": 10, "rows": [row]}])
    assert "not run: not installed (make peers)" in shown
    assert flower.label in shown


def test_what_would_take_more_memory_than_it_may_is_named(fold: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold.environments, "missing", lambda peer: "")
    monkeypatch.setattr(fold, "ITEMS", 25_000_000)
    arrays = next(one for one in fold.CONTENDERS if one.options == ("arrays",))
    assert fold.refusal(arrays, 10, 20, 6.0) == ""
    assert fold.refusal(arrays, 100, 20, 6.0) == "would take 11 GiB"
