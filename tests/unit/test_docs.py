"""The documents say what the code does: every key, option and variable once, with its default; links lead somewhere."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from warren.aggregator.reducers.options import BUCKET, REDUCERS
from warren.aggregator.strategies.options import COMMON, STRATEGIES, TORCH
from warren.broker import messages
from warren.cli import context
from warren.cli.jobfile import FREE, SECTIONS, as_job_file, resolve_job, start_draft
from warren.cli.main import cli
from warren.storage.balance import BalanceSpec
from warren.storage.compress import CompressSpec
from warren.storage.job import EvaluateSpec, JobSpec, ReducerSpec, StrategySpec, TrainSpec
from warren.storage.schedule import ScheduleSpec
from warren.storage.track import TrackSpec
from warren.trainer import partition
from warren.trainer.task import Client, load_task, shipped_names
from warren.trainer.task_calls import build_model, client_data

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SHARED = "several"  # what the command column says of an option that several commands have
ROOMS = ("links", "broker", "storage", "trainer", "aggregator", "cli")
FOR_TESTS = "WARREN_TEST_"
NO_DEFAULT = ""

CONFIG = "configuration.md"
TABLES = tuple(SECTIONS)
BY_CONTEXT = {f"--{name.removeprefix('s3_')}" for name in context.DEFAULTS} | {"--context"}  # read with the addresses

Row = list[str]


def rows_of(file: str, heading: str) -> list[Row]:
    """The cells of the table below a heading, without its header; code marks and escapes are taken off."""
    text = (ROOT / "docs" / file).read_text()
    found = re.search(rf"^#+ {re.escape(heading)}$(.*?)(?=^#|\Z)", text, re.M | re.S)
    assert found, f"{file} has no heading {heading!r}"
    lines = [line for line in found[1].splitlines() if line.startswith("|")]
    return [[plain(cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def plain(cell: str) -> str:
    return cell.strip().strip("`").replace("\\|", "|")


def once(names: list[str]) -> set[str]:
    """The names as a set, if none stands there twice."""
    twice = sorted({name for name in names if names.count(name) > 1})
    assert not twice, f"documented twice: {twice}"
    return set(names)


def agree(said: set[str], known: set[str], where: str) -> None:
    """Raise with the rows to add and those to take out."""
    assert said == known, f"docs/{where}: add rows for {sorted(known - said)}, take out {sorted(said - known)}"


def job_file_defaults() -> dict[str, str]:
    """Every key of a job file, dotted, with its default in TOML; empty where it has none."""
    task = {"name": "x", "file": "x.py", "digest": "0" * 64}
    spec = JobSpec.model_validate({"job": "x", "task": task})
    written = tomllib.loads(as_job_file(spec))
    defaults = {"task": NO_DEFAULT, "sites": NO_DEFAULT}
    sections = {
        "": JobSpec,
        "train.": TrainSpec,
        "strategy.": StrategySpec,
        "reducer.": ReducerSpec,
        "evaluate.": EvaluateSpec,
        "schedule.": ScheduleSpec,
        "balance.": BalanceSpec,
        "compress.": CompressSpec,
        "track.": TrackSpec,
    }
    for prefix, kind in sections.items():
        for field in kind.model_fields:
            name = {"deadline_seconds": "deadline"}.get(field, field)
            table = written.get(prefix[:-1], {}) if prefix else written
            if prefix or name not in ("version", "job", "task", "submitted", *TABLES, *FREE):
                defaults[prefix + name] = toml(table[name]) if name in table else NO_DEFAULT
    return {
        **{key: value for key, value in defaults.items() if key not in ("strategy.options", "reducer.options")},
        "params": "",
        "data": "",
    }


def toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else NO_DEFAULT if isinstance(value, dict) else str(value)


def commands() -> dict[str, click.Command]:
    """Every command by its words: `job list`."""
    return dict(walk(cli, ()))


def walk(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from walk(found, (*path, name))


def options() -> dict[tuple[str, str], tuple[str, str]]:
    """(command, option) -> (variable, default) as the code has them."""
    return {
        (name, option.opts[-1]): (str(option.envvar or ""), default_of(option))
        for name, command in commands().items()
        for option in command.params
        if isinstance(option, click.Option)
    }


def default_of(option: click.Option) -> str:
    value = option.default
    return str(value) if isinstance(value, str | int | float | Path) and not option.is_flag else ""


def variables_in_code() -> set[str]:
    """Every variable that the code reads, spelt out as a string of its own or made from the name of a setting."""
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*.py")]
    strings = (
        node.value for file in files for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)
    )
    named = {value for value in strings if isinstance(value, str) and re.fullmatch(r"WARREN_[A-Z0-9_]*[A-Z0-9]", value)}
    return named | {f"WARREN_{name.upper()}" for name in context.SETTINGS}


def test_every_key_of_the_job_file_is_documented_once_with_its_default() -> None:
    rows = [
        row
        for heading in ("The job", "[strategy]", "[reducer]", *(f"[{table}]" for table in TABLES))
        for row in rows_of(CONFIG, heading)
    ]
    expected = job_file_defaults()
    agree(once([row[0] for row in rows]), set(expected), CONFIG)
    assert {row[0]: row[1] for row in rows} == expected


def test_every_option_of_every_strategy_is_documented_with_its_default() -> None:
    said = {(name, row[1]): row[2] for row in rows_of(CONFIG, "Strategies") for name in row[0].split(", ") if row[1]}
    known = {(name, key): value for name, table in STRATEGIES.items() for key, value in table.items()}
    assert said == {
        place: NO_DEFAULT if option.default is None else toml(option.default) for place, option in known.items()
    }
    names = {name for row in rows_of(CONFIG, "Strategies") for name in row[0].split(", ")}
    assert names == set(STRATEGIES)
    torch_rows = rows_of(CONFIG, "Optimizers of torch")
    assert {row[0]: set(row[1].split(", ")) for row in torch_rows} == {
        name: set(table) for name, table in TORCH.items()
    }
    assert {row[0] for row in rows_of(CONFIG, "Of every strategy")} == set(COMMON)


def test_every_option_of_every_reducer_is_documented_with_its_default() -> None:
    rows = rows_of(CONFIG, "Reducers")
    said = {(row[0], row[1]): row[2] for row in rows if row[1]}
    known = {(name, key): value for name, table in REDUCERS.items() for key, value in table.items()}
    known |= {('any, with `before = "bucketing"', key): value for key, value in BUCKET.items()}
    assert said == {place: "" if option.default is None else toml(option.default) for place, option in known.items()}
    assert {row[0] for row in rows if not row[0].startswith("any")} == set(REDUCERS)


def test_every_command_is_documented() -> None:
    known = {f"warren {name}" for name in commands()}
    agree(once([row[0] for row in rows_of(CONFIG, "Commands")]), known, f"{CONFIG}, Commands")


def test_every_option_is_documented_once_with_its_variable_and_default() -> None:
    rows = rows_of(CONFIG, "Options")
    said = {(row[0].removeprefix("warren "), row[1].split()[0]): (row[2], row[3]) for row in rows}
    assert len(said) == len(rows), "an option stands there twice"
    covered: dict[tuple[str, str], int] = dict.fromkeys(said, 0)
    for (command, option), known in options().items():
        row = (command, option) if (command, option) in said else (SHARED, option)
        assert row in said, f"docs/{CONFIG}, Options: add a row for warren {command} {option}"
        covered[row] += 1
        if option not in BY_CONTEXT and command != "context add":
            assert said[row] == known, f"warren {command} {option}: the code has {known}"
    stale = [row for row, count in covered.items() if count < (2 if row[0] == SHARED else 1)]
    assert stale == [], f"docs/{CONFIG}, Options: take out (a row for several needs two commands)"


def test_every_variable_is_documented_and_none_that_is_not_read() -> None:
    text = "".join(file.read_text() for file in DOCUMENTS)
    said = {name for name in re.findall(r"\bWARREN_[A-Z][A-Z0-9_]*[A-Z0-9]\b", text) if not name.startswith(FOR_TESTS)}
    read = variables_in_code()
    configuration = (ROOT / "docs" / CONFIG).read_text()
    agree({name for name in read if name in configuration}, read, f"{CONFIG}, Variables")
    known = read | {f"{name}_FILE" for name in read} | variables_of_options() | variables_of_compose()
    assert said - known == set()


def variables_of_compose() -> set[str]:
    """Those that the compose files read: `${WARREN_BIND:-...}`."""
    files = [ROOT / "docker-compose.yml", *(ROOT / "deploy").rglob("*.yml")]
    return set(re.findall(r"\$\{(WARREN_[A-Z0-9_]+)", "".join(file.read_text() for file in files)))


def variables_of_options() -> set[str]:
    """The variable that each option has by its command: `WARREN_RUN_ROUNDS`."""
    return {
        f"WARREN_{name}_{option.name}".upper().replace(" ", "_").replace("-", "_")
        for name, command in commands().items()
        for option in command.params
    }


def test_the_tasks_and_partitions_that_ship_are_documented() -> None:
    agree(once([row[0] for row in rows_of("tasks.md", "Tasks that ship")]), set(shipped_names()), "tasks.md")
    agree(once([row[0] for row in rows_of("tasks.md", "Partitions")]), {*partition.NAMES, "natural"}, "tasks.md")


@pytest.mark.parametrize("message", [messages.Submission, messages.RoundJob, messages.Completion])
def test_every_field_of_a_message_is_documented(message: type) -> None:
    said = once([row[0] for row in rows_of("messages.md", message.__name__)])
    agree(said, set(message.model_fields) - {"version", "type"}, "messages.md")  # type: ignore[attr-defined]


def shell_lines() -> Iterator[tuple[str, str]]:
    for document in DOCUMENTS:
        for block in re.findall(r"^```sh\n(.*?)^```", document.read_text(), re.M | re.S):
            for line in block.replace("\\\n", " ").splitlines():
                if found := re.search(r"(?:^|\$\()\s*(warren [^#)|>&]*)", line):
                    yield document.name, found[1].strip()


@pytest.mark.parametrize(("document", "line"), list(shell_lines()))
def test_every_command_line_of_the_documents_is_one(document: str, line: str) -> None:
    words = shlex.split(line)[1:]
    command: click.Command = cli
    parent = click.Context(cli, info_name="warren")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(parent, words.pop(0))
        assert found is not None, f"{document}: no such command: {line}"
        command, parent = found, click.Context(found, info_name=found.name, parent=parent)
    if not isinstance(command, click.Group):
        parser = command.make_parser(parent)
        _, left, _ = parser.parse_args(args=words)
        assert not left or left == [None], f"{document}: {line}: {left}"


def test_links_lead_somewhere() -> None:
    broken = []
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
            path, _, anchor = target.partition("#")
            file = (document.parent / path) if path else document
            if re.match(r"[a-z]+:", target):
                continue
            if not file.exists() or (anchor and anchor not in anchors(file)):
                broken.append(f"{document.name}: {target}")
    assert broken == []


def anchors(file: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", file.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_task_in_the_readme_is_the_example_and_has_fifteen_lines() -> None:
    source = (ROOT / "examples" / "spirals.py").read_text()
    assert f"```python\n{source}```" in (ROOT / "README.md").read_text()
    assert len(source.splitlines()) == 15


def test_the_example_is_a_job_and_a_task(tmp_path: Path) -> None:
    spec, source = resolve_job(start_draft(str(ROOT / "examples" / "job.toml")))
    assert (spec.selected, spec.quorum_count) == (5, 4)
    file = tmp_path / source.file
    file.write_bytes(source.body)
    task = load_task(file, digest=spec.task.digest)
    dataset = client_data(task, Client("c000", 0, 10, None, None, spec.seed), spec.data)
    inputs, targets = dataset[:7]
    assert build_model(task, spec.params)(inputs).shape == (*targets.shape, 2)
