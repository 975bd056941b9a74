"""Where a followed job is shown: a live picture on a terminal, quiet lines elsewhere, or JSON."""

from __future__ import annotations

import json
import sys
import termios
import time
from dataclasses import replace
from typing import Any, Protocol

import click
from rich.console import Console
from rich.live import Live

from .changes import Change, changes
from .display import render
from .status import JobStatus

COLUMNS_MAX = 100  # wider lines are harder to read
EARLIER_SHOWN = 2  # rounds, as lines


class Screen(Protocol):
    """Shows one job, look after look."""

    @property
    def live(self) -> bool: ...
    def show(self, status: JobStatus) -> None: ...
    def close(self) -> None: ...


class LiveScreen:
    """A picture that is drawn anew, and stays as it was last when closed."""

    live = True

    def __init__(self, console: Console | None = None) -> None:
        console = console or Console(highlight=False)
        console.width = min(console.width, COLUMNS_MAX)
        self._live = Live(console=console, auto_refresh=False, transient=False, vertical_overflow="ellipsis")
        self._echo = _hide_interrupts()
        self._live.start()

    def show(self, status: JobStatus) -> None:
        self._live.update(render(status), refresh=True)

    def close(self) -> None:
        self._live.stop()
        if self._echo is not None:
            termios.tcsetattr(sys.stdin, termios.TCSANOW, self._echo)
            self._echo = None


def _hide_interrupts() -> list[Any] | None:
    """Keep the terminal from printing `^C` into the picture; what it did before, to be put back."""
    if not sys.stdin.isatty():
        return None
    before = termios.tcgetattr(sys.stdin)
    quiet = [*before[:3], before[3] & ~termios.ECHOCTL, *before[4:]]
    termios.tcsetattr(sys.stdin, termios.TCSANOW, quiet)
    return before


class _ChangesScreen:
    live = False

    def __init__(self) -> None:
        self._before: JobStatus | None = None

    def show(self, status: JobStatus) -> None:
        for change in changes(self._before, status):
            self._print(change, status.job)
        self._before = status

    def close(self) -> None:
        sys.stdout.flush()

    def _print(self, change: Change, job: str) -> None:
        raise NotImplementedError


class LineScreen(_ChangesScreen):
    """A line for each thing that happened, with the time; of what came before the first look, the end."""

    def show(self, status: JobStatus) -> None:
        if self._before is None and len(status.results) > EARLIER_SHOWN:
            skipped = status.results[:-EARLIER_SHOWN]
            click.echo(f"{len(skipped)} rounds before these: `warren job show {status.job}`")
            self._before = replace(status, results=skipped, warnings=(), state="unfinished")
        super().show(status)

    def _print(self, change: Change, job: str) -> None:
        click.echo(f"{time.strftime('%H:%M:%S')}  {change.text}")
        sys.stdout.flush()


class JsonScreen(_ChangesScreen):
    """A JSON object a line for each thing that happened."""

    def _print(self, change: Change, job: str) -> None:
        click.echo(json.dumps(change.as_json(job), ensure_ascii=False))
        sys.stdout.flush()


def open_screen(as_json: bool) -> Screen:
    """The screen that suits where stdout goes."""
    if as_json:
        return JsonScreen()
    return LiveScreen() if sys.stdout.isatty() else LineScreen()
