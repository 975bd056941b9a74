"""The command itself: quick help, one line for an error, exit codes, and a log that says what it is about."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from warren.broker.errors import BrokerUnavailable
from warren.cli import main
from warren.cli.errors import CliError, UsageMistake
from warren.cli.log import JsonLines, TextLines
from warren.cli.main import COMMANDS, call, cli
from warren.storage.errors import ObjectMissing, SpecInvalid, StorageRefused

HEAVY = ("torch", "numpy", "pydantic", "minio", "pika", "redis", "fakeredis", "rich", "matplotlib")


def commands() -> list[list[str]]:
    """Every command and subcommand, as the words that call it."""
    import click

    found: list[list[str]] = [[]]
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        found.append([name])
        if isinstance(command, click.Group):
            found += [[name, sub] for sub in command.list_commands(context)]
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_explains_itself(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call([*words, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Usage: warren")
    assert max(map(len, shown.splitlines())) <= 100


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["submit", "--help"], ["job", "list", "--help"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from warren.cli.main import call; assert call(sys.argv[1:]) == 0; "
        f"heavy = [name for name in {HEAVY} if name in sys.modules]; print(heavy, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_submitting_imports_no_torch(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def model(): ...\ndef data(client): ...\n")
    code = (
        "import sys; from warren.cli.main import call; assert call(sys.argv[1:]) == 0; import warren.cli.submission; "
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    words = ["submit", str(tmp_path / "mine.py"), "--dry-run"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "False"


def test_the_table_of_commands_tells_what_each_command_tells() -> None:
    import click

    for name, place in COMMANDS.items():
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        assert command.get_short_help_str(200).rstrip(".").startswith(place.summary.rstrip(".")[:20])


def test_an_unknown_command_or_option_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["sumbit"]) == 2
    assert capsys.readouterr().err.startswith("warren: no command 'sumbit'; did you mean 'submit'?")
    assert call(["run", "digits", "--round", "3"]) == 2
    assert "--rounds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (SpecInvalid("job.toml line 6: quorum"), 2, "warren: job.toml line 6: quorum\n"),
        (UsageMistake("no context"), 2, "warren: no context\n"),
        (CliError("is done already"), 1, "warren: is done already\n"),
        (ObjectMissing("no object"), 1, "warren: no object\n"),
        (BrokerUnavailable("amqp://x does not answer"), 4, "warren: amqp://x does not answer\n"),
        (StorageRefused("wrong key"), 4, "warren: wrong key\n"),
        (KeyboardInterrupt(), 130, "warren: interrupted\n"),
        (ZeroDivisionError("oops"), 1, "warren: not expected: ZeroDivisionError: oops\n"),
    ],
)
def test_an_error_is_a_line_and_an_exit_code(
    error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(**_: object) -> None:
        raise error

    monkeypatch.setattr(main.cli, "main", fails)
    assert call([]) == code
    assert capsys.readouterr().err.startswith(line)


def test_a_traceback_is_shown_for_debug_only(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "warren.cli.main", "submit", str(tmp_path / "no.toml")]
    plain = subprocess.run(words, capture_output=True, text=True, check=False)
    debug = subprocess.run([*words, "--debug"], capture_output=True, text=True, check=False)
    assert plain.returncode == debug.returncode == 2
    assert plain.stderr.count("\n") == 1
    assert "Traceback" in debug.stderr


def record(**fields: object) -> logging.LogRecord:
    made = logging.LogRecord("warren.trainer", logging.INFO, "f.py", 1, "updated %d", (3,), None)
    made.__dict__.update(fields)
    return made


def test_a_line_of_the_log_names_job_round_client_and_attempt() -> None:
    line = TextLines().format(record(job="lung-1", round=0, client="c1", attempt="a", other="x"))
    assert line.endswith("INFO trainer: updated 3  job=lung-1 round=0 client=c1 attempt=a")
    line = TextLines().format(record())
    assert line.endswith("INFO trainer: updated 3")


def test_the_log_as_json_is_one_object_a_line_with_its_trace() -> None:
    try:
        raise ValueError("a\nb")
    except ValueError:
        line = JsonLines().format(record(job="lung-1", exc_info=sys.exc_info()))
    assert "\n" not in line
    told = json.loads(line)
    assert (told["job"], told["message"], told["level"]) == ("lung-1", "updated 3", "info")
    assert "ValueError" in told["trace"]


def test_nothing_is_coloured_where_it_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from warren.cli.tables import print_table

    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    print_table(["name", "count"], [["a", "1"], ["bb", "22"]])
    assert out.getvalue() == "NAME  COUNT\na         1\nbb       22\n"
