"""What a shell offers at TAB, asked by the protocol that each of the three shells speaks, and once by bash itself."""

from __future__ import annotations

import logging
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from warren.cli import completing
from warren.cli.context_file import add_context
from warren.cli.main import call
from warren.storage.folder import FolderStore

JOBS = ("lung-aaa111", "lung-bbb222", "digits-ccc333")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    store = FolderStore(tmp_path / "runs")
    for job in JOBS:
        store.create(f"jobs/{job}/job.json", b"{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WARREN_CONFIG", str(tmp_path / "contexts.toml"))
    yield tmp_path
    logging.disable(logging.NOTSET)  # a completing process ends, this one goes on


def asked(shell: str, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The words that are offered at the end of this line; stderr must stay empty."""
    words = line.split(" ")
    monkeypatch.setenv("_WARREN_COMPLETE", f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", words[-1] if shell == "fish" else str(len(words) - 1))
    with pytest.raises(SystemExit):
        call([])
    said = capsys.readouterr()
    assert said.err == ""
    lines = [line for line in said.out.splitlines() if line]  # none: an empty line
    if shell == "zsh":  # kind, value, help
        return lines[1::3]
    return [found.split(",", 1)[1].split("\t")[0] for found in lines]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    "line",
    [
        "warren job show --store runs lu",
        "warren watch --store runs lu",
        "warren job rm --store runs --force digits-ccc333 lu",
        "warren checkpoint get --store runs lu",
        "warren job diff --store runs digits-ccc333 lu",
        "warren run --resume lu",
    ],
)
def test_ids_of_jobs_are_offered(
    folder: Path, shell: str, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(shell, line, monkeypatch, capsys) == ["lung-aaa111", "lung-bbb222"]


def test_the_last_job_has_a_word_of_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked("bash", "warren job show --store runs @", monkeypatch, capsys) == ["@last"]
    assert set(asked("bash", "warren job show --store runs ", monkeypatch, capsys)) == {*JOBS, "@last"}


def test_a_job_to_run_is_a_file_here_or_a_task_that_ships(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("digital.toml", "digest.py", "dig.csv"):
        Path(name).touch()
    assert asked("bash", "warren run dig", monkeypatch, capsys) == ["digest.py", "digital.toml", "digits"]
    monkeypatch.setenv("COMP_WORDS", "warren submit ../dig")
    with pytest.raises(SystemExit):
        call([])
    assert capsys.readouterr().out == "file,../dig\n", "the shell's own files"


def test_contexts_and_kinds_of_models_are_offered(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("lab", "lake"):
        add_context(name, {"s3": "http://s3.lab"})
    for line in ("warren context use la", "warren job list --context la"):
        assert asked("bash", line, monkeypatch, capsys) == ["lab", "lake"]
    assert asked("bash", "warren checkpoint get lung-aaa111 b", monkeypatch, capsys) == ["best"]


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Takes connections and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_store_that_does_not_answer_costs_a_bounded_time_and_no_words(
    folder: Path, silent_server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WARREN_S3", silent_server)
    monkeypatch.setattr(completing, "SECONDS", 0.3)
    began = time.monotonic()
    assert asked("bash", "warren job show lu", monkeypatch, capsys) == []
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("where", ["http://127.0.0.1:9", "no address"])
def test_what_fails_offers_nothing_and_says_nothing(
    folder: Path, where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked("bash", f"warren job show --s3 {where.replace(' ', '-')} lu", monkeypatch, capsys) == []
    assert asked("bash", "warren job show --context nowhere lu", monkeypatch, capsys) == []
    Path("contexts.toml").write_text("no TOML = = 1")
    assert asked("bash", "warren context use la", monkeypatch, capsys) == []


def test_a_password_manager_is_not_started_by_a_tab(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = folder / "was-run"
    Path("contexts.toml").write_text(
        "[contexts.lab]\ns3 = 'http://s3.invalid'\ns3_access_key = 'me'\n"
        f"s3_secret_key = {{ command = 'touch {made}' }}\namqp_password = {{ command = 'touch {made}' }}\n"
    )
    assert asked("bash", "warren job show --context lab lu", monkeypatch, capsys) == []
    assert not made.exists()


def test_bash_completes_the_id_itself(folder: Path) -> None:
    """The script that `warren completion bash` prints, in a bash that has just started."""
    program = folder / "bin" / "warren"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m warren.cli.main "$@"\n')
    program.chmod(0o755)
    script = (
        "source <(warren completion bash)\n"
        "COMP_WORDS=(warren job show --store runs lung-a) COMP_CWORD=5\n"
        "_warren_completion warren\n"
        'echo "${COMPREPLY[@]}"\n'
    )
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("lung-aaa111\n", "")
