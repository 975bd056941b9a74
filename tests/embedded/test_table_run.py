"""A table of one's own, trained from one line of the command line."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from warren.cli.main import call


def write_table(path: Path) -> None:
    """Three clinics of 60; the outcome follows from the dose."""
    chance = random.Random(2)
    rows = ["dose,sex,clinic,outcome"]
    for number in range(180):
        dose = chance.gauss(5, 2)
        rows.append(f"{dose:.2f},{'fm'[number % 2]},{'abc'[number % 3]},{'ill' if dose > 5 else 'well'}")
    path.write_text("\n".join(rows) + "\n")


def test_a_table_is_learned_and_measured_by_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(tmp_path / "t.csv")
    words = ["data.file=t.csv", "data.target=outcome", "data.by=clinic", "train.lr=0.05"]
    where = ["--data-dir", str(tmp_path), "--store", str(tmp_path / "runs"), "--trainers", "1", "--rounds", "4"]
    assert call(["run", "table", *(part for word in words for part in ("--set", word)), *where, "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (path,) = (tmp_path / "runs" / "jobs").glob("*/evaluations/00004.json")
    evaluation = json.loads(path.read_text())
    assert events
    assert set(evaluation["validation"]) == {"accuracy", "auroc", "f1", "loss"}
    assert evaluation["held_out"]["auroc"] > 0.95
    assert set(evaluation["clients"]) == {"c000", "c001", "c002"}
