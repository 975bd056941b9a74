"""A task file: what it must have, and how a mistake in it is told."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from torch import nn

from warren.trainer.errors import TaskError
from warren.trainer.failures import failure_of
from warren.trainer.seeds import seed_of
from warren.trainer.task import Client, check_dependencies, load_task, shipped, shipped_names
from warren.trainer.task_calls import build_model, client_data, held_out_data

CLIENT = Client(name="c000", index=0, count=2, site=None, data_dir=None, seed=1)
WHOLE = """\
from torch import nn

def model(hidden=4):
    return nn.Linear(hidden, 2)

def data(client, size=3):
    return list(range(size))
"""


@pytest.fixture
def write(tmp_path: Path):
    def written(source: str, name: str = "lung.py") -> Path:
        path = tmp_path / name
        path.write_text(source)
        return path

    return written


def test_a_whole_task_gives_its_model_and_data(write):
    task = load_task(write(WHOLE))
    assert isinstance(build_model(task, {"hidden": 8}), nn.Linear)
    assert len(client_data(task, CLIENT, {"size": 5})) == 5  # type: ignore[arg-type]
    assert held_out_data(task, CLIENT, {}) is None


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        ("def model(): pass\n", 0, "must have a function data(client)"),
        ("def data(client): pass\n", 0, "must have a function model(**params)"),
        ("def model(): pass\ndata = 3\n", 0, "data must be a function, got int"),
        ("x = 1\ndef model(:\n", 2, "SyntaxError: invalid syntax"),
        ("x = 1\nimport no_such_package\n", 2, "ModuleNotFoundError: No module named 'no_such_package'"),
        ("def f():\n    return 1 / 0\nf()\n", 2, "ZeroDivisionError"),
    ],
)
def test_a_file_that_is_no_task_is_told_by_file_and_line(write, source, line, words):
    with pytest.raises(TaskError, match=r"lung\.py") as caught:
        load_task(write(source))
    assert (caught.value.file, caught.value.line) == ("lung.py", line)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("return list(range(size))", "return None", 6, "must return a Dataset with len() and indexing, got NoneType"),
        ("return list(range(size))", "return []", 6, "gave a Dataset without examples"),
        ("return nn.Linear(hidden, 2)", "return 3", 3, "must return a torch.nn.Module, got int"),
        ("client, size=3", "", 6, "must take the client: def data(client)"),
        ("hidden=4", "hidden", 3, "model() needs 'hidden': give it under [params]"),
    ],
)
def test_a_function_that_gives_something_else_is_told_what_was_expected(write, old, new, line, words):
    task = load_task(write(WHOLE.replace(old, new)))
    call = client_data if line == 6 else build_model
    with pytest.raises(TaskError) as caught:
        call(*((task, CLIENT, {}) if line == 6 else (task, {})))
    assert words in str(caught.value)
    assert (caught.value.file, caught.value.line) == ("lung.py", line)


@pytest.mark.parametrize(("given", "hint"), [("hiden", "did you mean 'hidden'?"), ("zzz", "known: hidden")])
def test_an_unknown_parameter_is_answered_with_the_nearest(write, given, hint):
    task = load_task(write(WHOLE))
    with pytest.raises(TaskError, match=rf"\[params\] {given}: model\(\) has no such parameter") as caught:
        build_model(task, {given: 1})
    assert hint in str(caught.value)


def test_only_the_source_that_was_submitted_is_run(write, tmp_path):
    path = write(f"{WHOLE}\nopen({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(TaskError, match="the job was submitted with"):
        load_task(path, digest="0" * 64)
    assert not (tmp_path / "ran").exists()
    load_task(path, digest=hashlib.sha256(path.read_bytes()).hexdigest())
    assert (tmp_path / "ran").exists()


def test_packages_that_are_missing_are_named_before_the_file_runs(write):
    block = '# /// script\n# dependencies = ["no-such-package>=2", "numpy>=1"]\n# ///\nimport no_such_package\n'
    with pytest.raises(TaskError, match=r"needs no-such-package>=2, which is not installed here"):
        load_task(write(block + WHOLE))


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ('dependencies = ["numpy>=99"]', r"numpy>=99, where \d"),
        ('requires-python = ">=3.99"', r"Python >=3\.99, where this is"),
        ('dependencies = ["!!"]', "script metadata"),
        ("dependencies = [", "script metadata"),
        ('dependencies = "numpy"', "must be a list"),
    ],
)
def test_script_metadata_that_cannot_be_met_or_read_is_told(block, words):
    with pytest.raises(TaskError, match=words):
        check_dependencies(f"# /// script\n# {block}\n# ///\n", "lung.py")


def test_a_block_that_is_not_closed_is_told():
    with pytest.raises(TaskError, match="must close the block"):
        check_dependencies("# /// script\n# dependencies = []\nimport x\n", "lung.py")


def test_two_versions_of_one_file_live_side_by_side(write):
    one = load_task(write(WHOLE))
    two = load_task(write(WHOLE.replace("hidden=4", "hidden=9")))
    assert build_model(one, {}).in_features == 4
    assert build_model(two, {}).in_features == 9


def test_test_data_may_take_the_client_its_options_or_nothing(write):
    for signature, given in (("client", True), ("client, size=1", True), ("size=1", False), ("", False)):
        returned = "[client.name]" if given else "['x']"
        task = load_task(write(f"{WHOLE}\ndef test_data({signature}):\n    return {returned}\n"))
        assert held_out_data(task, CLIENT, {"size": 2, "other": 3}) == (["c000"] if given else ["x"])


def test_a_failure_names_the_last_line_inside_the_task_and_no_folder(write, tmp_path):
    task = load_task(
        write(
            WHOLE.replace(
                "return list(range(size))", "return broken(size)\n\ndef broken(size):\n    return int('Mrs Smith')"
            )
        )
    )
    with pytest.raises(ValueError, match="Mrs Smith") as caught:
        client_data(task, CLIENT, {})
    full = failure_of(caught.value, shared=True)
    assert str(full.failure).startswith("ValueError at lung.py:10: invalid literal")
    assert "return int('Mrs Smith')" in full.failure.text  # the line itself, though the file may be gone
    assert str(tmp_path) not in full.failure.text


def test_what_an_exception_says_stays_at_home_unless_shared(write):
    task = load_task(write(WHOLE.replace("return list(range(size))", "raise KeyError('Mrs Smith')")))
    with pytest.raises(KeyError) as caught:
        client_data(task, CLIENT, {})
    told = failure_of(caught.value, shared=False)
    assert "Smith" not in told.failure.model_dump_json()
    assert "Smith" in told.trace
    assert told.failure.error == "KeyError"
    assert told.failure.line == 7
    assert told.failure.id


def test_a_long_message_and_a_deep_traceback_are_cut(write):
    task = load_task(write(WHOLE.replace("return list(range(size))", "raise ValueError('x' * 1_000_000)")))
    with pytest.raises(ValueError, match="xxx") as caught:
        client_data(task, CLIENT, {})
    told = failure_of(caught.value, shared=True)
    assert len(told.failure.text) <= 16_384
    assert len(told.trace.encode()) <= 17_000


def test_every_shipped_task_is_found_by_its_name():
    pictures = ["cifar10", "digits", "fashion-mnist", "mnist"]
    assert shipped_names() == sorted(["breast-cancer", "shakespeare", "synthetic", "table", *pictures])
    assert all(shipped(name) is not None for name in shipped_names())
    assert shipped("no-such-task") is None
    assert shipped("../process") is None


def test_seeds_differ_by_all_that_they_follow_and_by_nothing_else():
    seeds = {
        seed_of(1, "train", job_round=1, client="a"),
        seed_of(2, "train", job_round=1, client="a"),
        seed_of(1, "shuffle", job_round=1, client="a"),
        seed_of(1, "train", job_round=2, client="a"),
        seed_of(1, "train", job_round=1, client="b"),
        seed_of(1, "train"),
    }
    assert len(seeds) == 6
    assert all(0 <= seed < 1 << 63 for seed in seeds)
    assert seed_of(1, "init") == 4757208786290815672  # what a job begun yesterday goes on with
