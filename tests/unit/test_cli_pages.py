"""docs/cli.md says what the commands say; each has an example, its options have variables, and a test runs it."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import click
import pytest

from warren.cli.main import call, cli
from warren.cli.pages import commands, page

ROOT = Path(__file__).parents[2]
KNOWN = dict(commands(cli, ()))


def test_the_page_of_commands_is_current() -> None:
    shown = (ROOT / "docs" / "cli.md").read_text()
    assert shown == page(), "run: python -m warren.cli.pages > docs/cli.md"


@pytest.mark.parametrize("words", KNOWN)
def test_each_help_page_has_an_example_of_its_command(words: str) -> None:
    epilog = KNOWN[words].epilog or ""
    assert words in epilog


def test_exit_codes_are_on_the_first_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["--help"]) == 0
    assert "130 interrupted" in " ".join(capsys.readouterr().out.split())


def test_every_option_comes_from_the_environment_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(["new", "mine"]) == 0
    monkeypatch.setenv("WARREN_SUBMIT_DRY_RUN", "1")
    monkeypatch.setenv("WARREN_SET", "rounds=77")
    capsys.readouterr()
    assert call(["submit", "mine.toml"]) == 0
    assert "rounds = 77" in capsys.readouterr().out
    assert call(["submit", "mine.toml", "--set", "rounds=5"]) == 0
    assert "rounds = 5\n" in capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["completion", shell]) == 0
    assert f"{shell}_complete" in capsys.readouterr().out


def test_a_shell_is_answered_with_commands_and_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_WARREN_COMPLETE", "bash_complete")
    for line, expected in (("warren che", "check"), ("warren job re", "rerun"), ("warren run --da", "--data-dir")):
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
        with pytest.raises(SystemExit):
            call([])
        assert f"plain,{expected}" in capsys.readouterr().out.splitlines()


def test_each_command_is_run_by_a_test() -> None:
    """By its words, as arguments: `"job", "list"`."""
    texts = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    texts += "".join(path.read_text() for path in (ROOT / "tests" / "services").glob("*.py"))
    started = r'"{}",\s*(?:"start"|self\.kind|kind)'
    missing = []
    for words in KNOWN:
        parts = words.split()[1:]
        pattern = r",\s*".join(f'"{re.escape(part)}"' for part in parts)
        if parts[-1] == "start":
            pattern = started.format(parts[0]) + r"|str\(WARREN\), self\.kind, \"start\""
        if parts[0] == "site":
            pattern = rf'"site", "{parts[1]}"|warren_site\("{parts[1]}"'
        if parts == ["run"]:
            pattern = r'"warren\.cli\.main", "run"'
        if not re.search(pattern, texts):
            missing.append(words)
    assert missing == []


def test_a_run_shows_its_whole_job_and_stores_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(["run", "digits", "--rounds", "3", "-P", "channels=8", "--set", "train.lr=0.05", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert all(line in shown.splitlines() for line in ("rounds = 3", "channels = 8", "lr = 0.05", 'task = "digits"'))
    assert list(tmp_path.iterdir()) == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("said", "coloured"), [("", True), ("1", False)])
def test_colours_are_left_out_where_the_environment_says_so(
    said: str, coloured: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WARREN_CONFIG", str(tmp_path / "contexts.toml"))
    monkeypatch.setenv("NO_COLOR", said)
    assert call(["context", "add", "lab", "--s3", "http://s3.lab"]) == 0
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert call(["context", "list"]) == 0
    shown = sys.stdout.getvalue()  # type: ignore[attr-defined]
    assert "lab" in shown
    assert ("\x1b[" in shown) is coloured


def test_groups_explain_themselves_too() -> None:
    for name in cli.list_commands(click.Context(cli)):
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        assert command.help
