"""The job file: what it means, and what each mistake in it is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from warren.cli.jobfile import apply_options, as_job_file, new_id, read_job_file, resolve_job, span, start_draft
from warren.storage.errors import SpecInvalid
from warren.storage.job import JobSpec, seconds
from warren.storage.keys import is_name

TASK = "def model(hidden=64): ...\ndef data(client): ...\n"
JOB = """\
task = "lung.py"
clients = 10
rounds = 50
fraction = 0.5  # of the clients
quorum = "80%"
deadline = "2m"
seed = 7

[train]
epochs = 2
lr = { "0" = 0.1, "30" = 0.01 }

[strategy]
name = "fedadam"
beta1 = 0.8

[evaluate]
deadline = "1h30m"

[params]
hidden = 32
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lung.py").write_text(TASK)
    return tmp_path


def resolved(folder: Path, text: str, settings: tuple[str, ...] = (), params: tuple[str, ...] = ()) -> JobSpec:
    path = folder / "job.toml"
    path.write_text(text)
    draft = read_job_file(path)
    apply_options(draft, settings, params)
    return resolve_job(draft)[0]


def answer(folder: Path, text: str, settings: tuple[str, ...] = (), params: tuple[str, ...] = ()) -> str:
    with pytest.raises(SpecInvalid) as caught:
        resolved(folder, text, settings, params)
    return str(caught.value)


def test_every_part_of_a_job_file_reaches_the_spec(folder: Path) -> None:
    spec = resolved(folder, JOB)
    assert (spec.clients, spec.rounds, spec.selected, spec.quorum_count, spec.seed) == (10, 50, 5, 4, 7)
    assert spec.deadline_seconds == 120
    assert spec.evaluate.deadline_seconds == 5400
    assert spec.train.lr_at(29) == 0.1
    assert spec.train.lr_at(30) == 0.01
    assert spec.strategy.name == "fedadam"
    assert spec.strategy.options == {"beta1": 0.8}
    assert spec.params == {"hidden": 32}
    assert spec.task.name == "lung"
    assert spec.submitted


def test_options_win_over_the_file_and_the_last_one_over_the_others(folder: Path) -> None:
    settings = ("train.epochs=3", "train.epochs=4", "quorum=100%", "strategy.beta2=0.95", "sites=[]")
    spec = resolved(folder, JOB, settings, ("hidden=128", "act=relu"))
    assert spec.train.epochs == 4
    assert spec.quorum_count == 5
    assert spec.strategy.options == {"beta1": 0.8, "beta2": 0.95}
    assert spec.params == {"hidden": 128, "act": "relu"}


def test_the_resolved_job_is_a_job_file_that_means_the_same(folder: Path) -> None:
    spec = resolved(folder, JOB)
    again = resolved(folder, as_job_file(spec))
    ours = {"job", "submitted"}
    assert again.model_dump(exclude=ours) == spec.model_dump(exclude=ours)


def test_the_resolved_job_of_sites_is_one_too(folder: Path) -> None:
    spec = resolved(folder, 'task = "lung.py"\nsites = ["st-mary", "general"]\n')
    again = resolved(folder, as_job_file(spec))
    assert again.client_names == ("general", "st-mary")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (JOB.replace('quorum = "80%"', "quorum = 9"), "job.toml line 5: quorum 9 is more than the 5 clients"),
        (JOB.replace('"2m"', "120"), 'job.toml line 6: deadline 120 needs a unit: "90s", "2m", "1h30m".'),
        (JOB.replace('"1h30m"', '"soon"'), "job.toml line 18: evaluate.deadline 'soon' needs a unit"),
        (JOB.replace("rounds", "round"), "job.toml line 3: no such key: round; did you mean 'rounds'?"),
        (JOB.replace("epochs", "epoch"), "job.toml line 10: no such key in [train]: epoch; did you mean 'epochs'?"),
        ("lr = 1\n" + JOB, "job.toml line 1: no such key: lr; it belongs into [train]."),
        (JOB.replace("epochs = 2", "epochs = 0"), "job.toml line 10: train.epochs: Input should be greater"),
        (JOB.replace("epochs = 2", "epochs = two"), "job.toml line 10: not TOML: "),
        (JOB + "[params", "job.toml line 22: not TOML: "),
        (JOB.replace("lung.py", "lang.py"), "job.toml line 1: task: can't read"),
        (JOB.replace("lung.py", "lung"), "job.toml line 1: task 'lung' is neither a file"),
        (JOB.replace('task = "lung.py"', ""), "job.toml: no task: write task ="),
        ("train = 3\n" + JOB.partition("[train]")[0], "job.toml line 1: train is a table: write [train]"),
        (JOB.replace("[params]", "[parms]"), "job.toml line 20: no such key: parms; did you mean 'params'?"),
        (JOB.replace("fedadam", "fedadem"), "job.toml line 14: strategy.name: there is no strategy 'fedadem'. Did you"),
        (JOB.replace("beta1 = 0.8", "beta1 = 1"), "job.toml line 15: strategy.beta1: must be a number at least 0"),
        (JOB.replace("clients = 10", 'sites = ["a", "a"]'), "job.toml line 2: sites: a name stands there twice"),
    ],
)
def test_a_mistake_is_answered_with_its_line_and_the_mend(folder: Path, text: str, expected: str) -> None:
    assert answer(folder, text).startswith(expected)


@pytest.mark.parametrize(
    ("settings", "params", "expected"),
    [
        (("train.lr=-1",), (), "--set train.lr: train.lr: Input should be greater than 0 (got -1)"),
        (("train.ler=1",), (), "--set train.ler: no such key in [train]: ler; did you mean 'lr'?"),
        (("quorum=6",), (), "--set quorum: quorum 6 is more than the 5 clients"),
        (("deadline=2",), (), "--set deadline: deadline 2 needs a unit"),
        (("rounds.more=2",), (), "--set rounds.more: rounds is no table."),
        (("rounds",), (), "--set rounds: expected KEY=VALUE"),
        ((), ("hidden",), "-P hidden: expected KEY=VALUE"),
    ],
)
def test_a_mistake_in_an_option_names_the_option(
    folder: Path, settings: tuple[str, ...], params: tuple[str, ...], expected: str
) -> None:
    assert answer(folder, JOB, settings, params).startswith(expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def model(): ...\n", "lung.py defines no data()"),
        ("def model(: ...\n", "lung.py line 1: "),
        ("def data(client): ...\nmodel = 3\nx = (\n", "lung.py line 3: "),
        ("\0", "lung.py"),
    ],
)
def test_a_file_that_is_plainly_no_task_is_refused_and_not_run(folder: Path, source: str, expected: str) -> None:
    (folder / "lung.py").write_text(source)
    assert expected in answer(folder, JOB)


def test_a_task_is_read_and_never_run(folder: Path) -> None:
    (folder / "lung.py").write_text("try:\n    from x import model\nexcept ImportError: pass\ndata = 1 / 0\n")
    assert resolved(folder, JOB).task.file == "lung.py"


def test_a_task_file_alone_is_a_job_with_the_defaults(folder: Path) -> None:
    spec, task = resolve_job(start_draft(str(folder / "lung.py")))
    assert spec.task.digest == task.digest
    assert spec.clients == 10


def test_words_that_are_no_job_are_answered_with_what_there_is() -> None:
    with pytest.raises(SpecInvalid, match="neither a job file"):
        start_draft("digitz")
    with pytest.raises(SpecInvalid, match=r"can't read .*: No such file"):
        start_draft("nowhere/job.toml")


@pytest.mark.parametrize("task", ["lung", "My_Task.v2", "---", "x" * 200, "Ünïcode"])
def test_an_id_is_a_name_whatever_the_task_is_called(task: str) -> None:
    assert is_name(new_id(task))
    assert new_id(task) != new_id(task)


@pytest.mark.parametrize("value", [0.25, 1.0, 59.0, 60.0, 90.0, 120.0, 5400.0, 86400.0, 1.5])
def test_a_span_reads_back_as_itself(value: float) -> None:
    assert seconds(span(value)) == value
