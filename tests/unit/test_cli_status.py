"""What is known of a job, what changed between two looks, and how it is drawn."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from warren.cli.changes import changes
from warren.cli.display import clock, curve, render, some
from warren.cli.status import JobStatus, StatusReader, missing_services, read_progress
from warren.storage import keys
from warren.storage.documents import Control, Entry, Evaluation, Manifest, write_document
from warren.storage.errors import ObjectMissing, StorageUnavailable
from warren.storage.folder import FolderStore
from warren.storage.job import JobSpec, make_spec, write_spec
from warren.storage.ports import Presence
from warren.storage.simulated import SimulatedLedger

JOB = "lung-abc123"
DIGEST = "0" * 64


def spec(**fields: object) -> JobSpec:
    task = {"name": "lung", "file": "lung.py", "digest": DIGEST}
    return make_spec({"job": JOB, "task": task, "clients": 3, "rounds": 5, **fields})


def manifest(number: int, **fields: object) -> Manifest:
    entries = tuple(
        Entry(client=f"c00{i}", source="pool.default", attempt="a", digest=DIGEST, size=1000, examples=10)
        for i in range(2)
    )
    facts = {"asked": 3, "quorum": 2, "seconds": 2.0, "metrics": {"loss": 1.0 / (number + 1)}}
    return Manifest(job=JOB, round=number, entries=entries, **{**facts, **fields})


class House:
    """A job in a folder, and a ledger with a clock of its own."""

    def __init__(self, root: Path, **fields: object) -> None:
        self.time = 100.0
        self.store = FolderStore(root)
        self.ledger = SimulatedLedger(lambda: self.time)
        self.store.create(keys.spec(JOB), write_spec(spec(**fields)))
        self.reader = StatusReader(self.store, JOB, self.ledger)

    def freeze(self, number: int, **fields: object) -> None:
        self.store.create(keys.manifest(JOB, number), write_document(manifest(number, **fields)))

    def evaluate(self, number: int, accuracy: float) -> None:
        numbers = {"accuracy": accuracy, "loss": 0.5}
        document = Evaluation(job=JOB, round=number, held_out=numbers, held_out_examples=360)
        self.store.create(keys.evaluation(JOB, number), write_document(document))

    def command(self, number: int, command: str, reason: str = "") -> None:
        document = Control.model_validate({"command": command, "reason": reason})
        self.store.create(keys.control(JOB, number), write_document(document))

    def open_round(self, number: int, **clients: str) -> None:
        fields = {"round": number, "state": "running", "asked": 3, "wanted": 3, "quorum": 2, "valid": 1}
        said = {name: str(value) for name, value in fields.items()}
        said |= {"deadline": "160.0", "started": "90.0", "clients": json.dumps(clients)}
        self.ledger.set_progress(JOB, said)

    def serve(self, **trainer: str) -> None:
        self.ledger.announce(Presence("aggregator", "agg", {}), 1e6)
        self.ledger.announce(Presence("trainer", "t1", {"source": "pool.default", **trainer}), 1e6)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def drawn(status: JobStatus, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False, color_system=None)
    console.print(render(status))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_a_job_that_nobody_leads_waits_and_says_for_whom(house: House) -> None:
    status = house.reader.read()
    assert status.state == "waiting"
    assert status.warnings == (
        "no aggregator is there: start one with `warren aggregator start`",
        "no trainer takes from pool default: start one with `warren trainer start`",
    )
    assert all(warning[:40] in drawn(status) for warning in status.warnings)


def test_sites_without_a_trainer_are_named() -> None:
    there = [Presence("trainer", "x", {"source": "site.general"})]
    found = missing_services(spec(sites=["st-mary", "general", "north"], clients=3), there, there)
    assert found == ("no trainer at north, st-mary: start one there with `warren trainer start --site north`",)


def test_a_job_that_needs_a_gpu_says_that_no_trainer_has_one() -> None:
    there = [Presence("trainer", "x", {"source": "pool.default", "device": "cpu"})]
    assert "needs" in missing_services(spec(needs="gpu"), there, there)[0]
    there = [Presence("trainer", "x", {"source": "pool.default", "device": "cuda:0"})]
    assert missing_services(spec(needs="gpu"), there, there) == ()


def test_rounds_come_in_order_and_round_zero_is_none_of_them(house: House) -> None:
    for number in (0, 1, 2):
        house.freeze(number)
    house.evaluate(1, 0.75)
    status = house.reader.read()
    assert [result.number for result in status.results] == [1, 2]
    assert status.results[0].metric("accuracy") == 0.75
    assert status.results[1].metric("accuracy") is None
    assert status.results[1].metric("loss") == pytest.approx(1 / 3)
    assert status.seconds_left == 6.0


def test_what_was_read_once_is_not_read_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.freeze(1)
    house.reader.read()
    house.freeze(2)
    asked: list[str] = []
    read: Callable[..., bytes] = house.store.read

    def counted(key: str, **options: int) -> bytes:
        asked.append(key)
        return read(key, **options)

    monkeypatch.setattr(house.store, "read", counted)
    assert house.reader.read().rounds_done == 2
    assert asked == [keys.manifest(JOB, 2)]


@pytest.mark.parametrize(
    ("command", "state"),
    [("pause", "paused"), ("cancel", "cancelled"), ("fail", "failed"), ("done", "done"), ("resume", "waiting")],
)
def test_the_highest_command_decides_the_state(house: House, command: str, state: str) -> None:
    house.command(1, "pause", "first")
    house.command(2, command, "because")
    status = house.reader.read()
    assert status.state == state
    if state != "waiting":
        assert status.reason == "because"


def test_a_ledger_that_is_away_is_a_warning_and_the_rounds_are_still_shown(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(job: str) -> dict[str, str]:
        raise StorageUnavailable("redis at x: connection refused")

    house.freeze(1)
    monkeypatch.setattr(house.ledger, "progress", away)
    status = house.reader.read()
    assert status.rounds_done == 1
    assert status.warnings == ("no news: redis at x: connection refused",)


def test_a_job_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ObjectMissing):
        StatusReader(FolderStore(tmp_path), "nobody")


@pytest.mark.parametrize("clients", ["", "[]", "nonsense", '{"c000": 3}'])
def test_progress_that_cant_be_read_counts_as_unknown(clients: str) -> None:
    now = read_progress({"round": "x", "deadline": "soon", "asked": "-1", "clients": clients}, 5.0)
    assert (now.round, now.asked, now.deadline_left) == (0, 0, None)


def test_the_round_in_progress_is_shown_with_who_is_in_and_who_is_missing(house: House) -> None:
    house.serve(job=JOB, client="c001", state="training")
    house.freeze(1)
    house.open_round(2, c000="valid", c001="asked", c002="failed")
    picture = drawn(house.reader.read())
    assert "1 of 3 in" in picture
    assert "quorum 2" in picture
    assert "deadline in 1:00" in picture
    assert "✓c000" in picture
    assert "▸c001" in picture
    assert "✗c002" in picture
    assert "1 there, 1 at work on this job" in picture


def test_with_many_clients_the_missing_are_named_and_the_others_counted(tmp_path: Path) -> None:
    house = House(tmp_path, clients=100)
    clients = {f"c{number:03}": "asked" if number < 10 else "valid" for number in range(100)}
    house.open_round(1, **clients)
    assert "missing: c000, c001, c002, c003, c004, c005, c006, c007 and 2 more" in drawn(house.reader.read(), 100)


def test_no_line_of_the_picture_is_wider_than_the_terminal(tmp_path: Path) -> None:
    house = House(tmp_path, clients=60)
    house.open_round(2, **{f"c{number:03}": "asked" for number in range(60)})
    house.freeze(1, failed={"c000": "ValueError at lung.py:3: " + "x" * 300})
    for width in (60, 80, 100):
        assert max(map(len, drawn(house.reader.read(), width).splitlines())) <= width


def test_a_failure_stands_in_the_picture_with_its_reason(house: House) -> None:
    house.freeze(1, failed={"c002": "ValueError at lung.py:3"}, rejected={"c001": "conv.weight holds NaN"})
    picture = drawn(house.reader.read())
    assert "round 1: c001 rejected: conv.weight holds NaN" in picture
    assert "round 1: c002 failed: ValueError at lung.py:3" in picture


def test_each_thing_that_happened_is_told_once(house: House) -> None:
    house.serve()
    house.open_round(1)
    first = house.reader.read()
    assert [change.event for change in changes(None, first)] == ["state"]
    house.freeze(1, silent={"c002": "no trainer was at it"})
    second = house.reader.read()
    assert [change.event for change in changes(first, second)] == ["round", "silent"]
    house.evaluate(1, 0.9)
    house.command(1, "done", "5 rounds")
    third = house.reader.read()
    told = list(changes(second, third))
    assert [change.event for change in told] == ["evaluation", "state"]
    assert told[0].text == "round 1/5  accuracy 0.9  loss 0.5 (held-out)"
    assert list(changes(third, third)) == []


def test_a_change_is_json_with_its_facts(house: House) -> None:
    house.serve()
    house.freeze(3)
    (change,) = [one for one in changes(None, house.reader.read()) if one.event == "round"]
    told = json.loads(json.dumps(change.as_json(JOB)))
    assert (told["job"], told["round"], told["valid"], told["asked"]) == (JOB, 3, 2, 3)


def test_a_curve_spans_its_lowest_and_highest() -> None:
    assert curve([0.0, 0.5, 1.0], 5) == "▁▅█  "
    assert curve([2.0, 2.0], 2) == "▄▄"
    assert curve([float("nan"), float("inf")], 3) == "   "
    assert len(curve(range(100), 28)) == 28


def test_times_and_lists_read_well() -> None:
    assert [clock(value) for value in (0, 7, 750, 3723)] == ["0:00", "0:07", "12:30", "1:02:03"]
    assert some(["a", "b", "c"], 2) == "a, b and 1 more"


def test_a_curve_never_mixes_where_it_was_measured(house: House) -> None:
    for number in (1, 2, 3):
        house.freeze(number)
    assert house.reader.read().series("loss") == ("in training", (1 / 2, 1 / 3, 1 / 4))
    house.evaluate(2, 0.9)
    assert house.reader.read().series("loss") == ("on held-out data", (0.5,))
    assert house.reader.read().series("nothing") == ("", ())


def test_a_metric_stays_in_the_picture_while_its_evaluations_lag_behind(tmp_path: Path) -> None:
    house = House(tmp_path, rounds=20)
    for number in range(1, 11):
        house.freeze(number)
    house.evaluate(2, 0.9)
    assert "accuracy" in drawn(house.reader.read())


def test_the_time_left_leaves_out_the_first_round_which_starts_everything_up(house: House) -> None:
    house.freeze(1, seconds=100.0)
    assert house.reader.read().seconds_left == 400.0
    house.freeze(2)
    assert house.reader.read().seconds_left == 6.0


def test_an_asynchronous_job_shows_its_version_and_who_is_out(tmp_path: Path) -> None:
    house = House(tmp_path, schedule={"kind": "fedbuff", "buffer": 2})
    house.serve()
    house.open_round(4, c000="valid", c001="asked", c002="asked")
    lines = [" ".join(line.split()) for line in drawn(house.reader.read()).splitlines()]
    assert any("version 4 1 ready, 2 out next deadline in" in line for line in lines), lines
    assert any("versions" in line and "of 5" in line for line in lines)
