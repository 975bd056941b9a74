"""Smaller parts of the command line: names, deadlines against the broker, shared training, submitting twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from warren.broker.errors import BrokerUnavailable
from warren.broker.memory import MemoryBroker
from warren.broker.messages import Submission, decode
from warren.broker.topology import SUBMISSIONS
from warren.cli.errors import CliError, UsageMistake
from warren.cli.jobfile import Draft, resolve_job
from warren.cli.names import service_name, source_of
from warren.cli.shared_training import SharedTraining
from warren.cli.submission import check_deadlines, store_job, tell
from warren.cli.toml_text import line_of, read_value, write_toml
from warren.storage import keys
from warren.storage.errors import SpecInvalid
from warren.storage.folder import FolderStore
from warren.storage.job import read_spec
from warren.storage.keys import is_name
from warren.trainer.process import Outcome, Stopped, TrainingProcess, Work
from warren.trainer.wire import Evaluated


@pytest.fixture
def draft(tmp_path: Path) -> Draft:
    (tmp_path / "mine.py").write_text("def model(): ...\ndef data(client): ...\n")
    return Draft({"task": "mine.py"}, tmp_path)


def test_a_trainer_takes_from_one_pool_or_one_site() -> None:
    assert source_of(None, None) == "pool.default"
    assert source_of("gpu", None) == "pool.gpu"
    assert source_of(None, "st-mary") == "site.st-mary"
    for pool, site in (("a", "b"), ("No Name", None), (None, "x" * 64)):
        with pytest.raises(UsageMistake):
            source_of(pool, site)


def test_a_service_is_named_after_its_machine_and_chance_or_as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Big_Box.lab." + "x" * 80)
    assert is_name(service_name(None))
    assert service_name(None).startswith("big-box-lab-")
    assert service_name("mine") == "mine"
    with pytest.raises(UsageMistake, match="--name"):
        service_name("My Trainer")


def test_a_deadline_longer_than_the_broker_lets_a_job_be_held_is_refused(
    draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft.set(("deadline",), "45m", "--set deadline")
    spec, _ = resolve_job(draft)
    with pytest.raises(SpecInvalid, match=r"deadline 45m is longer .* \(30m\).*consumer_timeout"):
        check_deadlines(spec)
    monkeypatch.setenv("WARREN_CONSUMER_TIMEOUT", "1h")
    check_deadlines(spec)
    monkeypatch.setenv("WARREN_CONSUMER_TIMEOUT", "3600")
    with pytest.raises(UsageMistake, match="WARREN_CONSUMER_TIMEOUT: '3600' needs a unit"):
        check_deadlines(spec)


def test_a_job_is_stored_whole_and_once(draft: Draft, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "runs")
    spec, task = resolve_job(draft)
    store_job(store, spec, task)
    assert store.read(keys.task(spec.job, "mine.py")) == task.body
    assert read_spec(store.read(keys.spec(spec.job))) == spec
    with pytest.raises(CliError, match="is there already"):
        store_job(store, spec, task)


def test_news_of_a_job_that_the_broker_does_not_take_is_late_and_not_lost(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = MemoryBroker()
    broker.declare([SUBMISSIONS])
    tell(broker, "lung-1")
    delivery = broker.consume([SUBMISSIONS]).take(1.0)
    assert delivery is not None
    assert decode(delivery.body, Submission).job == "lung-1"

    def away(_: object) -> None:
        raise BrokerUnavailable("blocked")

    monkeypatch.setattr(broker, "publish", away)
    tell(broker, "lung-1")
    assert "lung-1 is stored, and starts when" in capsys.readouterr().err


class Process(TrainingProcess):
    """A training process that starts at once and works until told."""

    def __init__(self) -> None:
        self.at_work = threading.Event()
        self.finish = threading.Event()

    def facts(self) -> object:  # type: ignore[override]
        return None

    def begin(self, work: Work) -> None: ...

    def run(self, work: Work, keep_going: Callable[[], bool]) -> Outcome:
        self.at_work.set()
        assert self.finish.wait(10)
        return Evaluated(1, {})


def test_work_waits_for_a_process_of_its_own_and_stops_waiting_when_it_is_no_longer_wanted() -> None:
    process = Process()
    training = SharedTraining([process])
    work: Work = None  # type: ignore[assignment]
    assert training.run(work, lambda: False) == Stopped()  # none has started yet
    training.warm_up(process)
    outcomes: list[Outcome] = []
    first = threading.Thread(target=lambda: outcomes.append(training.run(work, lambda: True)))
    first.start()
    assert process.at_work.wait(10)
    assert training.run(work, lambda: False) == Stopped()
    process.finish.set()
    first.join(10)
    assert outcomes == [Evaluated(1, {})]
    assert training.run(work, lambda: True) == Evaluated(1, {})


def test_toml_that_is_written_reads_back() -> None:
    import tomllib

    fields = {"a": 1, "b": 0.5, "c": True, "d": 'q"\n\\ü', "e": [1, "x"], "t": {"0": 0.1, "k k": "v", "u": {}}}
    assert tomllib.loads(write_toml(fields)) == fields


def test_a_value_on_the_command_line_is_read_as_toml_and_else_as_text() -> None:
    assert [read_value(text) for text in ("3", "0.5", "true", '"x"', "x", "[1,2]", "2m")] == [
        3,
        0.5,
        True,
        "x",
        "x",
        [1, 2],
        "2m",
    ]
    assert read_value("1\nb = 2") == "1\nb = 2"


def test_the_line_of_a_key_is_that_of_its_table_where_it_has_none() -> None:
    source = "a = 1\n# b = 2\n[t]\nx.y = 3\n[t.u]\nz = 1\n"
    assert line_of(source, ("a",)) == 1
    assert line_of(source, ("t", "x", "y")) == 4
    assert line_of(source, ("t", "u", "z")) == 6
    assert line_of(source, ("t", "u", "missing")) == 5
    assert line_of(source, ("b",)) is None
