"""Two jobs side by side: what differs in settings, code and environment; their metrics; their curves in a picture."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from ..aggregator.comparing import facts_of
from ..storage.errors import StorageError, StorageUnavailable
from .connect import View
from .status import JobStatus, StatusReader
from .stored_job import draft_of, task_of
from .tables import print_table

CODE_LINES_MAX = 200  # of the difference between two tasks
Pair = tuple[Any, Any]


def print_difference(view: View, one: str, other: str, output: Path | None, *, as_json: bool) -> None:
    """Print how two jobs differ; draw them where a file was named.

    Raises:
        StorageUnavailable: the picture can't be written.
    """
    both = [StatusReader(view.store, job).read() for job in (one, other)]
    settings, environment = _settings(*both), _environment(*both)
    metrics, code = _metrics(*both), _code(view, *both)
    if output is not None:
        _draw(output, *both)
    if as_json:
        facts = {"settings": settings, "environment": environment, "metrics": metrics, "code": code}
        click.echo(json.dumps({"one": one, "other": other, **facts}, ensure_ascii=False))
        return
    _section("settings", settings, both)
    _section("environment", environment, both)
    _print_code(code, both)
    _section("metrics", metrics, both)
    if output is not None:
        click.echo(f"\ncurves  {output}")


def _settings(one: JobStatus, other: JobStatus) -> dict[str, Pair]:
    """The fields of the job file that differ, by dotted name; None where one has no such field."""
    mine, theirs = (dict(_flat("", draft_of(status.spec).fields)) for status in (one, other))
    names = [*mine, *(name for name in theirs if name not in mine)]
    return {name: (mine.get(name), theirs.get(name)) for name in names if mine.get(name) != theirs.get(name)}


def _flat(path: str, fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(f"{path}{key}.", value)
        else:
            yield f"{path}{key}", value


def _environment(one: JobStatus, other: JobStatus) -> dict[str, Pair]:
    """What the updates were made with, where it differs."""
    mine, theirs = (facts_of([result.manifest for result in status.results]) for status in (one, other))
    return {
        name: (", ".join(mine.get(name, ())), ", ".join(theirs.get(name, ())))
        for name in (*mine, *(name for name in theirs if name not in mine))
        if mine.get(name) != theirs.get(name)
    }


def _metrics(one: JobStatus, other: JobStatus) -> dict[str, Pair]:
    """The last numbers of both, the same ones too."""
    mine, theirs = dict(_numbers(one)), dict(_numbers(other))
    return {name: (mine.get(name), theirs.get(name)) for name in (*mine, *(n for n in theirs if n not in mine))}


def _numbers(status: JobStatus) -> Iterator[tuple[str, float | int]]:
    yield "rounds", status.rounds_done
    yield "seconds", round(sum(result.manifest.seconds for result in status.results), 1)
    yield "update bytes", sum(result.update_bytes for result in status.results)
    last = status.last_evaluation
    if last is not None:
        yield from ((f"held-out {name}", value) for name, value in sorted(last.held_out.items()))
        yield from ((f"validation {name}", value) for name, value in sorted(last.validation.items()))
        yield from ((f"worst tenth {name}", s.worst_decile) for name, s in sorted(last.spread.items()) if s.clients > 1)
    elif status.results:
        metrics = status.results[-1].manifest.metrics
        yield from ((f"training {name}", value) for name, value in sorted(metrics.items()))


def _code(view: View, one: JobStatus, other: JobStatus) -> dict[str, Any]:
    """The tasks' digests, and the lines that differ."""
    digests = one.spec.task.digest, other.spec.task.digest
    if digests[0] == digests[1]:
        return {"one": digests[0], "other": digests[1], "lines": []}
    try:
        mine, theirs = (task_of(view.store, status.spec).body.decode(errors="replace") for status in (one, other))
    except StorageError as error:
        return {"one": digests[0], "other": digests[1], "lines": [f"not to be compared: {error}"]}
    names = [f"{status.job}/{status.spec.task.file}" for status in (one, other)]
    lines = difflib.unified_diff(mine.splitlines(), theirs.splitlines(), names[0], names[1], lineterm="")
    return {"one": digests[0], "other": digests[1], "lines": list(lines)[:CODE_LINES_MAX]}


def _section(title: str, rows: Mapping[str, Pair], both: list[JobStatus]) -> None:
    click.secho(f"\n{title}", bold=True)
    if not rows:
        click.echo("the same")
        return
    names = [status.job for status in both]
    lines = [[name, _shown(mine), _shown(theirs)] for name, (mine, theirs) in rows.items()]
    print_table(["", *names], lines, as_it_is=True)


def _print_code(code: Mapping[str, Any], both: list[JobStatus]) -> None:
    click.secho("\ncode", bold=True)
    if code["one"] == code["other"]:
        click.echo(f"the same: {both[0].spec.task.file} {code['one'][:12]}")
    for line in code["lines"]:
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        click.secho(
            "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in line), fg=colour
        )


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _draw(output: Path, one: JobStatus, other: JobStatus) -> None:
    from ..aggregator.curves_compared import compared_png

    drawn = [
        (status.job, [r.manifest for r in status.results], [r.evaluation for r in status.results if r.evaluation])
        for status in (one, other)
    ]
    image = compared_png(drawn[0], drawn[1], metric=one.spec.evaluate.best)
    try:
        output.write_bytes(image)
    except OSError as error:
        raise StorageUnavailable(f"can't write {output}: {error.strerror}") from None
