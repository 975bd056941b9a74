"""How fast a job goes: each client's time, who is late and since when, what is moved; and how that is drawn."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from warren.cli.changes import changes
from warren.cli.display import render
from warren.cli.pace import client_seconds, late, traffic
from warren.cli.status import JobStatus, Now, RoundResult
from warren.storage.documents import Entry, Manifest
from warren.storage.job import make_spec

JOB = "lung-abc123"
DIGEST = "0" * 64
SPEC = make_spec({"job": JOB, "task": {"name": "lung", "file": "lung.py", "digest": DIGEST}, "clients": 3, "rounds": 5})


def timed(number: int, *seconds: float | str) -> RoundResult:
    """A round of 2 s with so many clients, each of which says that it took so long."""
    entries = tuple(
        Entry(
            client=f"c00{place}",
            source="pool.default",
            attempt="a",
            digest=DIGEST,
            size=1000,
            examples=10,
            facts={"seconds": str(took)},
        )
        for place, took in enumerate(seconds)
    )
    return RoundResult(Manifest(job=JOB, round=number, entries=entries, asked=3, quorum=2, seconds=2.0))


def status(*results: RoundResult, waited: float | None = None, **clients: str) -> JobStatus:
    now = Now(round=len(results) + 1, asked=3, wanted=3, quorum=2, since_start=waited, clients=clients)
    return JobStatus(JOB, SPEC, "running", "", now, results)


def drawn(shown: JobStatus) -> str:
    console = Console(file=io.StringIO(), width=80, force_terminal=False, color_system=None)
    console.print(render(shown))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_each_clients_time_the_slowest_and_what_is_moved_are_shown() -> None:
    known = status(timed(1, 0.5, 1.0, 1.75), timed(2, 0.5, 1.0, 1.75))
    shown = drawn(known)
    assert "median 1 s, slowest c002 1.75 s, c001 1 s  in round 2" in shown
    assert "1.5/s, 1.5 kB/s, 15 examples/s  3 kB a round, 6 kB in all" in shown
    assert max(map(len, shown.splitlines())) <= 80
    told = [change for change in changes(None, known) if change.event == "round"]
    assert told[0].facts["client_seconds"] == {"c000": 0.5, "c001": 1.0, "c002": 1.75}
    assert "2.0 s, slowest c002 1.8 s" in told[0].text


@pytest.mark.parametrize(
    ("waited", "expected"), [(None, {}), (4.9, {}), (5.5, {"c001": 2.0}), (10.0, {"c001": 2.0, "c002": 4.0})]
)
def test_who_is_late_is_named_with_what_is_usual_and_nobody_before_his_time(
    waited: float | None, expected: dict[str, float]
) -> None:
    known = status(timed(1, 0.5, 1.0, 4.0), waited=waited, c000="valid", c001="asked", c002="asked")
    assert late(known) == expected  # c001's own second is less than its round, which lasted two


def test_the_late_are_drawn_with_how_long_ago_they_were_asked() -> None:
    known = status(timed(1, 0.5, 1.0, 4.0), waited=10.0, c000="valid", c001="asked", c002="asked")
    assert "c001 (usually 2 s), c002 (usually 4 s), asked 0:10 ago" in drawn(known)


@pytest.mark.parametrize("said", ["", "nan", "inf", "-1", "soon"])
def test_a_time_that_is_none_is_left_out(said: str) -> None:
    assert client_seconds(timed(1, said, 1.0).manifest) == {"c001": 1.0}


def test_before_the_first_round_nothing_is_said_of_pace() -> None:
    assert (late(status(waited=100.0, c000="asked")), traffic(status())) == ({}, None)
