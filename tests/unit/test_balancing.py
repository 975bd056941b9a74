"""Local work that follows each client's round-trip: decided from the last plan and manifest alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warren.aggregator.balancing import next_shares
from warren.aggregator.results import outcome_of
from warren.aggregator.round_trips import lines_of, round_trips_png
from warren.storage.documents import Entry, Manifest, Plan, read_document, write_document
from warren.storage.errors import SpecInvalid
from warren.storage.job import JobSpec, TrainSpec, make_spec

TARGET = 30.0  # half of the deadline


def spec(kind: str, fields: dict[str, Any] | None = None, **balance: Any) -> JobSpec:
    task = {"name": "t", "file": "t.py", "digest": "0" * 64}
    job = {"job": "j", "task": task, "clients": 3, "deadline_seconds": 2 * TARGET, "balance": {"kind": kind, **balance}}
    return make_spec(job | (fields or {}))


def plan(**shares: float) -> Plan:
    return Plan(round=4, clients=("c000", "c001", "c002"), wanted=3, quorum=2, shares=shares)


def entry(client: str, took: float | None, training: object = None) -> Entry:
    facts = {} if training is None else {"seconds": str(training)}
    given = {"source": "pool.default", "attempt": "x", "digest": "0" * 64, "size": 1, "examples": 1}
    return Entry(**{**given, "client": client, "took": took, "facts": facts})


def manifest(*entries: Entry, **missing: Any) -> Manifest:
    return Manifest(job="j", round=4, entries=entries, **missing)


def test_aimd_adds_to_who_is_in_time_and_halves_who_is_late_or_silent() -> None:
    came = manifest(entry("c000", 12.0), entry("c001", 31.0), silent={"c002": "training on t1"})
    assert next_shares(spec("aimd"), plan(c000=0.5, c001=0.8), came) == {"c000": 0.6, "c001": 0.4, "c002": 0.5}


def test_the_share_for_the_deadline_is_solved_from_speed_and_way() -> None:
    came = manifest(entry("c000", 50.0, 40.0), entry("c001", 15.0, 10.0), entry("c002", 30.0, 20.0))
    shares = next_shares(spec("deadline"), plan(c000=1.0, c001=0.2), came)
    assert shares == {"c000": 0.5, "c001": 0.5}  # (30 - 10) / 40; 0.2 (30 - 5) / 10; just in time


def test_who_failed_or_was_not_asked_keeps_its_share() -> None:
    came = manifest(entry("c000", 1.0), failed={"c001": "ValueError"})
    assert next_shares(spec("aimd"), plan(c001=0.3, c002=0.7), came) == {"c001": 0.3, "c002": 0.7}


def test_a_trainer_that_says_nonsense_of_its_time_is_measured_by_the_round_trip() -> None:
    for said in ("nan", "-3", "soon", "inf", 1e9):
        assert next_shares(spec("deadline"), plan(), manifest(entry("c000", 60.0, said))) == {"c000": 0.5}


@given(
    st.sampled_from(("aimd", "deadline")),
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)), min_size=1, max_size=30),
)
def test_a_share_never_leaves_its_bounds(kind: str, rounds: list[tuple[float, float]]) -> None:
    job, shares = spec(kind, least=0.2, most=2.0), dict[str, float]()
    for took, training in rounds:
        shares = next_shares(job, plan(**shares), manifest(entry("c000", took, training)))
        assert 0.2 <= shares.get("c000", 1.0) <= 2.0


@pytest.mark.parametrize("kind", ["aimd", "deadline"])
def test_clients_of_unequal_speed_come_to_answer_at_the_target(kind: str) -> None:
    """Speeds of 10, 40 and 160 seconds for the whole work, and 2 seconds of way."""
    job, shares = spec(kind, least=0.01, most=10.0), dict[str, float]()
    speeds = {"c000": 10.0, "c001": 40.0, "c002": 160.0}
    history = []
    for _ in range(60):
        trained = {client: shares.get(client, 1.0) * speed for client, speed in speeds.items()}
        history.append({client: seconds + 2 for client, seconds in trained.items()})
        came = manifest(*(entry(client, 2 + seconds, seconds) for client, seconds in trained.items()))
        shares = next_shares(job, plan(**shares), came)
    for client in speeds:
        last = [took[client] for took in history[-20:]]
        assert min(last) >= 0.25 * TARGET
        assert max(last) <= TARGET + (0.1 * speeds[client] if kind == "aimd" else 0.1)


def test_a_share_of_the_work_is_counted_in_steps_and_at_least_one() -> None:
    from warren.trainer.local import portion

    assert portion(TrainSpec(epochs=2, batch_size=10), 95, None).steps is None
    assert portion(TrainSpec(epochs=2, batch_size=10), 95, 0.5).steps == 10
    assert portion(TrainSpec(steps=40), 95, 0.25).steps == 10
    assert portion(TrainSpec(epochs=3, batch_size=0), 95, 2.0).steps == 6
    assert portion(TrainSpec(), 5, 0.01).steps == 1


def test_shares_and_round_trips_are_written_down_and_old_documents_have_none() -> None:
    asked, came = plan(c001=0.25), manifest(entry("c000", 3.5))
    assert read_document(Plan, write_document(asked), "k").shares == {"c001": 0.25}
    assert read_document(Manifest, write_document(came), "k").entries[0].took == 3.5
    old = b'{"round": 1, "clients": ["c000"], "wanted": 1, "quorum": 1}'
    assert read_document(Plan, old, "k").shares == {}


def test_the_picture_has_a_line_for_each_client_or_the_spread_of_many() -> None:
    told = manifest(entry("c000", 1.0), entry("c001", 2.0))
    rounds = [outcome_of(told.model_copy(update={"round": n})) for n in (1, 2)]
    assert lines_of(rounds) == {"c000": ([1, 2], [1.0, 1.0]), "c001": ([1, 2], [2.0, 2.0])}
    many = [outcome_of(manifest(*(entry(f"c{n:03}", float(n)) for n in range(30))))]
    assert lines_of(many) == {"slowest": ([4], [29.0]), "median": ([4], [14.5]), "fastest": ([4], [0.0])}
    assert round_trips_png(lines_of(rounds), title="j", target=TARGET).startswith(b"\x89PNG")
    assert round_trips_png(lines_of([]), title="j", target=TARGET).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("kind", "fields", "balance", "words"),
    [
        ("aimd", {"schedule": {"kind": "fedasync"}}, {}, "balance.kind: in fedasync nobody waits for the slow"),
        ("deadline", {"update": "gradients"}, {}, "balance.kind: in a gradients job"),
        ("deadline", {}, {"increase": 0.2}, "increase means nothing to deadline"),
    ],
)
def test_what_balancing_does_not_go_with_is_refused(
    kind: str, fields: dict[str, Any], balance: dict[str, Any], words: str
) -> None:
    with pytest.raises(SpecInvalid) as refused:
        spec(kind, fields, **balance)
    assert words in str(refused.value)
