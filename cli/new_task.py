"""Writes what `warren new` makes, and says what to do next."""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from pathlib import Path

import click

from .errors import CliError, UsageMistake
from .new_plain import PLAIN_JOB, PLAIN_TASK
from .new_table import table_job, table_task
from .table_file import describe


def write_task(name: str, table: Path | None, target: str | None, by: str | None, *, force: bool) -> None:
    """Write NAME.py and NAME.toml into the current folder.

    Raises:
        UsageMistake: a name that can't be one, a table or column that is none.
        CliError: a file is there already, or can't be written.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,49}", name) or keyword.iskeyword(name):
        raise UsageMistake(f"{name!r} is no name for a task: a letter, then letters, digits, '-' and '_', at most 50.")
    made = Path(f"{name.replace('-', '_')}.py"), Path(f"{name}.toml")
    if table is None:
        texts, notes = [PLAIN_TASK.replace("NAME", name), PLAIN_JOB.replace("NAME.py", made[0].name)], []
    else:
        if table.suffix == ".parquet":
            raise UsageMistake(
                f"{table} is no CSV. For Parquet: `warren run table --set data.file={table} --set data.target=…`."
            )
        found = describe(table, target, by)
        texts = [table_task(name, found), table_job(name, made[0].name, found)]
        notes = found.notes
    _write(made, texts, force)
    for path in made:
        click.echo(str(path))
    for note in notes:
        click.echo(note, err=True)
    click.echo(f"Next:\n  warren check {made[1]}\n  warren run {made[1]}", err=True)


def _write(paths: Sequence[Path], texts: Sequence[str], force: bool) -> None:
    there = [str(path) for path in paths if path.exists()]
    if there and not force:
        raise CliError(
            f"{' and '.join(there)} {'is' if len(there) == 1 else 'are'} there already. Take another name, "
            "or write over with --force."
        )
    for path, text in zip(paths, texts, strict=True):
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise CliError(f"can't write {path}: {error.strerror}.") from None
