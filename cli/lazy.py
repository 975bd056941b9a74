"""A click group that knows its commands by name and imports one only when it is called."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click


class Place(NamedTuple):
    """Where a command stands, and its line in the help: known without importing it."""

    module: str
    name: str
    summary: str


class LazyGroup(click.Group):
    """`warren --help` imports none of the commands; `warren run` imports one."""

    def __init__(self, *, places: Mapping[str, Place], package: str | None, **settings: Any) -> None:
        super().__init__(**settings)
        self.places = places
        self.package = package

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = self.places.get(cmd_name)
        if place is None:
            return None
        command = getattr(importlib.import_module(place.module, self.package), place.name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.places and not name.startswith("-"):
            raise click.UsageError(f"no command {name!r}{nearest(name, self.places)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.summary) for name, place in self.places.items()])


def nearest(name: str, known: Any) -> str:
    """How a sentence about an unknown name ends: `; did you mean …?`, or `.` where no known name is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else "."
