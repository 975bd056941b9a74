"""A job's derived files are the same wherever its pictures are drawn, and there without them where that fails."""

from __future__ import annotations

import logging
import subprocess
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from warren.aggregator.drawing import draw, draw_apart
from warren.storage.documents import Entry, Evaluation, Manifest, Spread
from warren.storage.job import JobSpec, make_spec


def spec(**fields: Any) -> JobSpec:
    return make_spec({"job": "j", "task": {"name": "t", "file": "t.py", "digest": "0" * 64}, "clients": 2, **fields})


def manifest(number: int) -> Manifest:
    facts = {"source": "pool.default", "attempt": "a", "digest": "0" * 64, "size": 0, "examples": 1}
    entries = tuple(Entry(client=f"c{n}", took=1.0 + n, **facts) for n in range(2))
    return Manifest(job="j", round=number, entries=entries, asked=3, quorum=1, metrics={"loss": 1.5 / number})


SPREAD = Spread(clients=2, min=0.0, q1=0.1, median=0.2, q3=0.3, max=0.4, deviation=0.1, worst_decile=0.4, worst="c0")
MANIFESTS = [manifest(number) for number in (1, 2, 3)]
EVALUATIONS = [
    Evaluation(job="j", round=2, held_out={"loss": 1.0, "accuracy": 0.5}, validation={"loss": float("inf")}),
    Evaluation(job="j", round=3, validation={"loss": 1.0}, spread={"loss": SPREAD}),
]


@pytest.mark.parametrize("fields", [{}, {"balance": {"kind": "deadline"}}])
def test_pictures_are_the_same_whoever_draws_them(fields: dict[str, Any]) -> None:
    job = spec(**fields)
    files = draw_apart(job, MANIFESTS, EVALUATIONS)
    assert files == draw(job, MANIFESTS, EVALUATIONS)
    assert files.keys() == {"metrics.csv", "curves.png"} | ({"round-trips.png"} if fields else set())


@pytest.mark.parametrize("making", [draw, draw_apart])
def test_of_a_jobs_manifests_one_is_in_memory_at_a_time(making: Any) -> None:
    read: list[weakref.ref[Manifest]] = []

    def manifests() -> Iterator[Manifest]:
        for number in (1, 2, 3):
            assert [one for one in read if one() is not None] == []
            one = manifest(number)
            read.append(weakref.ref(one))
            yield one
            del one

    assert making(spec(), manifests(), []) == making(spec(), MANIFESTS, [])
    assert len(read) == len(MANIFESTS)


def test_the_table_is_there_where_nothing_can_be_drawn(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with caplog.at_level(logging.WARNING, "warren.aggregator"):
        assert draw_apart(spec(), MANIFESTS, []).keys() == {"metrics.csv"}
    assert "no pictures" in caplog.text


def test_what_draws_reads_no_documents() -> None:
    code = "import sys, warren.aggregator.drawing; print(sorted({'torch', 'numpy', 'pydantic'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
