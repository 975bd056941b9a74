"""Makes docs/cli.md from the commands themselves: `python -m warren.cli.pages > docs/cli.md`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import click

from .errors import EXIT_CODES
from .main import cli

_HEAD = """\
# Commands

Made from the code by `python -m warren.cli.pages > docs/cli.md`, and compared with it by a test.
`warren COMMAND --help` says the same.

Every option can come from the environment: by the variable that its row names, and where it names none by
`WARREN_<COMMAND>_<OPTION>`, such as `WARREN_RUN_ROUNDS=5` for `warren run --rounds`. What the line says goes first.
Addresses and credentials also come from a context.

`--json` prints one object a line. Colours are on terminals only, and not with `NO_COLOR`.

{exit_codes}

JOB is an id, the start of one that is unique, or `@last`: the one that was started last from here in the same store.
Shells (bash, zsh, fish) complete commands, options, jobs, tasks and contexts: `source <(warren completion bash)`.

"""


def page() -> str:
    """The whole page."""
    known = list(commands(cli, ()))
    lines = [_HEAD.format(exit_codes=EXIT_CODES), "| command | what it does |", "|---|---|"]
    for words, command in known:
        lines.append(f"| [`{words}`](#{words.replace(' ', '-')}) | {_cell(command.get_short_help_str(200))} |")
    return "\n".join([*lines, *(line for words, command in known for line in _section(words, command)), ""])


def commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    """Every command that is no group, by its words."""
    if not isinstance(command, click.Group):
        yield " ".join(("warren", *path)), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from commands(found, (*path, name))


def _section(words: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=words)
    yield f"\n## {words}\n"
    yield f"```\n{words} {' '.join(command.collect_usage_pieces(context))}\n```\n"
    yield _paragraphs(command.help or "")
    yield from _options([option for option in command.params if isinstance(option, click.Option)])
    if command.epilog:
        yield f"\n```sh\n{_examples(command.epilog)}\n```"


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.replace("\b", "").split("\n\n"))


def _options(options: list[click.Option]) -> Iterator[str]:
    if not options:
        return
    yield "\n| option | variable | default | |"
    yield "|---|---|---|---|"
    for option in options:
        names = ", ".join(f"`{name}`" for name in sorted(option.opts, key=len))
        if not option.is_flag:
            names = f"{names} `{option.make_metavar(click.Context(cli))}`"
        default = option.default
        shown = f"`{default}`" if option.show_default and default not in (None, False) else ""
        help_text, variable = _variable(option)
        yield f"| {_cell(names)} | {variable} | {shown} | {_cell(help_text)} |"


def _variable(option: click.Option) -> tuple[str, str]:
    """(the help without its variable, the variable): addresses name theirs in the help."""
    text = option.help or ""
    found = re.search(r"\s*\[(WARREN_[A-Z0-9_]+)\]", text)
    name = str(option.envvar or (found[1] if found else ""))
    return text.replace(found[0], "") if found else text, f"`{name}`" if name else ""


def _examples(epilog: str) -> str:
    lines = epilog.replace("\b", "").strip().splitlines()
    return "\n".join(line.strip() for line in lines if not re.match(r"Examples?:", line.strip()))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
