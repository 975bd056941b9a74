"""One thing that `warren doctor` found, and how it is shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import click

from .errors import DONE, FAILED, UNREACHABLE

Level = Literal["ok", "note", "wrong", "unreachable"]
_STYLES = {"ok": "green", "note": "yellow", "wrong": "red", "unreachable": "red"}
WIDTH = 78


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen at one server, and what to change where that is not right."""

    server: str
    level: Level
    seen: str
    change: str = ""


def show(findings: Sequence[Finding], *, as_json: bool) -> None:
    """A finding a line; below it what to change. As JSON, an object a finding."""
    if as_json:
        for finding in findings:
            click.echo(json.dumps(asdict(finding), ensure_ascii=False))
        return
    server = ""
    for finding in findings:
        if finding.server != server:
            server = finding.server
            click.secho(server, bold=True)
        mark = "no answer" if finding.level == "unreachable" else finding.level
        _wrapped(click.style(f"  {mark:<6}", fg=_STYLES[finding.level]), finding.seen)
        if finding.change:
            _wrapped(click.style("      ->", dim=True), finding.change)
    click.echo(_tally(findings))


def _wrapped(start: str, text: str) -> None:
    import textwrap

    lines = textwrap.wrap(text, WIDTH - 10, break_long_words=False, break_on_hyphens=False) or [""]
    click.echo("\n".join([f"{start}  {lines[0]}", *(" " * 10 + line for line in lines[1:])]))


def _tally(findings: Sequence[Finding]) -> str:
    wrong = sum(finding.level in ("wrong", "unreachable") for finding in findings)
    notes = sum(finding.level == "note" for finding in findings)
    if not wrong:
        return "Nothing is wrong." + (f" {notes} to know of." if notes else "")
    return f"{wrong} to mend" + (f", {notes} to know of." if notes else ".")


def exit_code(findings: Sequence[Finding]) -> int:
    """4 where a server could not be reached, 1 where something is wrong."""
    levels = {finding.level for finding in findings}
    return UNREACHABLE if "unreachable" in levels else FAILED if "wrong" in levels else DONE
