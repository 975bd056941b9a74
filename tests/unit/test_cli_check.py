"""`warren check`: what it says of a task, the line it blames, and the picture of who holds what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from warren.cli.main import call
from warren.cli.partition_plot import ALL, OTHERS, count_classes, partition_png

TASK = """\
import torch
from torch import nn
from torch.utils.data import TensorDataset

def model(hidden=3):
    return nn.Sequential(nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, 2))

def data(client, rows=50):
    print("reading")
    made = torch.Generator().manual_seed(client.index)
    inputs = torch.randn(rows, 4, generator=made)
    return TensorDataset(inputs, (inputs[:, 0] > 0).long())
"""


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WARREN_DEVICE", "cpu")
    path = tmp_path / "mine.py"
    path.write_text(TASK)
    return path


def seen(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert call(["check", *words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_it_says_what_it_saw(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = seen(capsys, "mine.py", "--set", "train.batch_size=16", "--client", "3")
    assert (found["parameters"], found["trained"], found["tensors"]) == (4 * 3 + 3 + 3 * 2 + 2, 23, 4)
    assert (found["client"], found["examples"], found["validation"], found["held_out"]) == ("c003", 45, 5, None)
    assert (found["inputs"], found["targets"], found["outputs"]) == ("float32 (16, 4)", "int64 (16)", "float32 (16, 2)")
    assert found["steps_a_round"] == 3
    assert found["loss_after"] < found["loss_before"]
    assert 23 * 4 < found["update_bytes"] < 23 * 4 + 2000
    assert 0 < found["seconds_a_step"] < 30


@pytest.mark.parametrize("words", [("update=gradients",), ("update=delta",), ("train.precision=fp64",)])
def test_every_kind_of_update_is_tried(task: Path, capsys: pytest.CaptureFixture[str], words: tuple[str]) -> None:
    assert seen(capsys, "mine.py", "--set", words[0])["parameters"] == 23


def test_an_update_is_as_large_as_its_algorithm_makes_it(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = seen(capsys, "mine.py", "-P", "hidden=1000")["update_bytes"]
    scaffold = seen(capsys, "mine.py", "-P", "hidden=1000", "--set", "strategy.name=scaffold")["update_bytes"]
    personal = seen(capsys, "mine.py", "-P", "hidden=1000", "--set", 'train.local=["2.*"]')["update_bytes"]
    assert 1.9 * plain < scaffold < 2.1 * plain
    assert personal < 0.8 * plain


@pytest.mark.parametrize(
    ("setting", "words"),
    [("train.rule=fedbn", "no BatchNorm layer"), ('train.local=["heat.*"]', "'heat.*' names no tensor")],
)
def test_layers_that_can_not_stay_with_the_client_are_named(
    task: Path, capsys: pytest.CaptureFixture[str], setting: str, words: str
) -> None:
    assert call(["check", "mine.py", "--set", setting]) != 0
    assert words in capsys.readouterr().err


def test_a_loop_of_the_tasks_own_is_tried_too(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = "def train(model, dataset, context):", "    for batch in context.batches(dataset):"
    task.write_text("\n".join([TASK.rstrip(), *lines, "        raise OSError(batch.count)", ""]))
    assert call(["check", "mine.py"]) == 1
    assert "mine.py line 15: OSError: 32\n" in capsys.readouterr().err


def test_people_read_it_at_80_columns(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["check", "mine.py"]) == 0
    out, err = capsys.readouterr()
    assert "reading" in err
    assert "reading" not in out
    assert "23 parameters in 4 tensors" in out
    assert max(map(len, out.splitlines())) <= 90


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("nn.Linear(4,", "nn.Linear(5,", "mat1 and mat2 shapes cannot be multiplied"),
        (
            "return TensorDataset(",
            "return TensorDatase(",
            "mine.py line 12: NameError: name 'TensorDatase' is not defined",
        ),
        ("return nn.Sequential", "return list", "mine.py line 6: TypeError: list expected at most 1 argument"),
        ("(hidden, 2)", "(hidden, 1)", "Target 1 is out of bounds"),
        ("import torch\n", "import torch, no_such_package\n", "mine.py line 1: ModuleNotFoundError"),
        ('print("reading")', "raise SystemExit(0)", "mine.py line 9: SystemExit: 0"),
        ("rows=50", "rows=0", "data(client) gave a Dataset without examples"),
    ],
)
def test_the_line_at_fault_is_named(
    task: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, expected: str
) -> None:
    assert old in TASK
    task.write_text(TASK.replace(old, new))
    assert call(["check", "mine.py"]) == 1
    assert expected in " ".join(capsys.readouterr().err.split())


def test_a_client_that_is_none_is_refused(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["check", "mine.py", "--client", "10"]) == 2
    assert "the job has 10 clients, from 0" in capsys.readouterr().err


def test_who_holds_what_is_drawn(task: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert seen(capsys, "mine.py", "--plot", "who.png")["plot"] == "who.png"
    assert (tmp_path / "who.png").read_bytes().startswith(b"\x89PNG")


def test_classes_are_counted_client_by_client() -> None:
    names, counts = count_classes([[0, 0, 1], [2, 1]])
    assert names == ["0", "1", "2"]
    assert counts.tolist() == [[2, 1, 0], [0, 1, 1]]
    names, counts = count_classes([list(range(30)), [0]])
    assert (len(names), names[-1], counts.sum()) == (21, OTHERS, 31)
    names, counts = count_classes([[0.5, 1.25], [3.0]])
    assert (names, counts.tolist()) == ([ALL], [[2], [1]])


@pytest.mark.parametrize("clients", [1, 5, 41, 300])
def test_any_number_of_clients_can_be_drawn(clients: int) -> None:
    labels = [np.arange(7).tolist() for _ in range(clients)]
    assert partition_png([f"c{n:03}" for n in range(clients)], labels, title="x $\\frac{ y").startswith(b"\x89PNG")
