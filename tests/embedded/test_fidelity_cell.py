"""One cell of benchmarks/fidelity, run: its curves, its bytes, its end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FIDELITY = Path(__file__).resolve().parents[2] / "benchmarks" / "fidelity"


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module that runs a cell, imported as its own scripts do and forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(FIDELITY)
    import embedded_cell  # type: ignore[import-not-found]

    yield embedded_cell
    for name in set(sys.modules) - before:
        if str(FIDELITY) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def job(**fields: Any) -> dict[str, Any]:
    evaluate = {"every": 1, "clients": 3, "share": 0.1}
    return {"task": "digits", "clients": 3, "rounds": 3, "quorum": "100%", "seed": 1, "evaluate": evaluate, **fields}


def test_a_cell_keeps_what_each_round_reached_and_what_it_sent(cells: Any) -> None:
    result = cells.run_cell(cells.Cell("whole", job(), 1.0), None, 1)
    assert result.ended == "done"
    for curve in ("test accuracy", "validation accuracy", "training loss", "seconds"):
        assert [number for number, _ in result.curves[curve]] == [1, 2, 3]
    assert result.bytes > 0


def test_a_cell_ends_at_its_target_and_not_before(cells: Any) -> None:
    result = cells.run_cell(cells.Cell("target", job(rounds=3000), 1.0, target=0.3), None, 1)
    assert result.ended == "target"
    values = [value for _, value in result.curves["test accuracy"]]
    assert max(values) >= 0.3
    assert len(values) < 3000


def test_a_cell_whose_job_pauses_is_no_result_unless_that_was_the_question(cells: Any) -> None:
    crashing = str(FIDELITY / "tasks" / "stragglers.py")
    fields = {"clients": 3, "job_seed": 1, "selected": 3, "stragglers": 1.0, "drop": True}
    paused = job(task=crashing, params=fields, evaluate={"every": 0, "clients": 0, "share": 0.0})
    with pytest.raises(cells.Ended, match="pause"):
        cells.run_cell(cells.Cell("paused", paused, 1.0), None, 1)
    result = cells.run_cell(cells.Cell("paused", paused, 1.0, ends=("pause",)), None, 1)
    assert "straggler" in result.reason
