"""docs/tutorial.md, run: its five commands on a table, and each mistake with the answer that it gives."""

from __future__ import annotations

import csv
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

from warren.cli.main import call

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()
STEPS = re.findall(r"^```sh\n(.*?)\n```", PAGE, re.M | re.S)
RUN_SECONDS = 280
ROWS = 600


def write_table(path: Path) -> None:
    """Made-up patients: the outcome follows from age and smoking, with some chance."""
    chance = random.Random(1)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "age", "weight", "smoker", "ward", "hospital", "outcome"])
        for number in range(ROWS):
            age, smoker = chance.gauss(55, 14), chance.random() < 0.5
            ill = (age - 55) / 14 + (1.2 if smoker else -0.6) + chance.gauss(0, 0.6) > 0
            weight = "" if chance.random() < 0.05 else f"{chance.gauss(78, 12):.1f}"
            words = ["yes" if smoker else "no", chance.choice("ABC"), chance.choice(["north", "south", "east"])]
            table.writerow([f"p{number:04}", f"{age:.1f}", weight, *words, "ill" if ill else "well"])


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the table, as a new user has it."""
    write_table(tmp_path / "patients.csv")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("WARREN_DEVICE", "cpu")
    return tmp_path


def test_five_commands_lead_from_a_table_to_a_trained_model(desk: Path) -> None:
    assert len(STEPS) == 5
    said = []
    for step in STEPS:
        assert step.startswith("warren ")
        words = [sys.executable, "-m", "warren.cli.main", *shlex.split(step)[1:]]
        done = subprocess.run(words, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
        assert done.returncode == 0, f"{step}\n{done.stdout}{done.stderr}"
        said.append(done.stdout)
    assert (desk / "clients.png").read_bytes().startswith(b"\x89PNG")
    accuracy = re.search(r"held-out\s+accuracy (0\.\d+|1)\b", said[2])
    assert accuracy is not None
    assert float(accuracy[1]) > 0.8
    with safe_open(desk / "patients.safetensors", "pt") as model:
        assert set(model.keys()) == {"0.weight", "0.bias", "2.weight", "2.bias"}


@pytest.fixture
def begun(desk: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """After the first step."""
    assert call(shlex.split(STEPS[0])[1:]) == 0
    capsys.readouterr()
    return desk


def mistakes() -> dict[str, tuple[str, str]]:
    """mistake -> (what is done, the answer), as the page has them."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")][1:]
    cells = [[cell.strip().strip("`") for cell in row.strip("|").split(" | ")] for row in rows]
    return {row[0]: (row[1], row[2]) for row in cells}


def answer(capsys: pytest.CaptureFixture[str], words: list[str], code: int) -> str:
    assert call(words) == code
    return " ".join(capsys.readouterr().err.split())


def test_the_page_has_ten_mistakes() -> None:
    assert len(mistakes()) == 10


@pytest.mark.parametrize("mistake", [name for name, (done, _) in mistakes().items() if done.startswith("warren")])
def test_a_mistake_at_the_beginning_is_answered(mistake: str, begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done, expected = mistakes()[mistake]
    (begun / "bare.csv").write_text("1,2,3\n" * 30)
    code = 1 if "already" in mistake else 2
    assert expected in answer(capsys, shlex.split(done)[1:], code)


@pytest.mark.parametrize("mistake", [name for name, (done, _) in mistakes().items() if done.startswith("-")])
def test_a_mistake_in_the_settings_or_the_task_is_answered(
    mistake: str, begun: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done, expected = mistakes()[mistake]
    code = 1 if "-P" in done or "data." in done else 2
    assert expected in answer(capsys, ["check", "patients.toml", *shlex.split(done)], code)


def test_an_exception_in_the_task_is_answered_with_its_line(begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = begun / "patients.py"
    source = task.read_text().replace(
        "    if client.site is not None:\n", "    1 / 0\n    if client.site is not None:\n"
    )
    task.write_text(source)
    (number,) = [number for number, line in enumerate(source.splitlines(), 1) if line == "    1 / 0"]
    expected = mistakes()["an exception in the task"][1]
    told = answer(capsys, ["check", "patients.toml"], 1)
    assert re.sub(r"line \d+", f"line {number}", expected) in told
    assert told.endswith(f"{number} | 1 / 0")


def test_a_table_with_a_number_to_predict_and_words_trains_too(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["new", "weights", "--csv", "patients.csv", "--target", "weight"]) == 0
    capsys.readouterr()
    assert call(["check", "weights.toml", "--json"]) == 0
    assert '"error"' in capsys.readouterr().out  # how far off, in kilograms
