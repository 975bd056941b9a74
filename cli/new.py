"""`warren new`: a task and its job file, written with comments, that run as they are."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    epilog="\b\nExamples:\n  warren new lung\n  warren new lung --csv patients.csv --target outcome\n"
    "  warren new lung --csv patients.csv --by hospital\n  warren check lung.toml && warren run lung.toml"
)
@click.argument("name")
@click.option(
    "--csv",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Make the task for this table.",
)
@click.option("--target", metavar="COLUMN", help="What is to be predicted; default: the last column.")
@click.option("--by", metavar="COLUMN", help="One client for each value of this column; default: ten equal clients.")
@click.option("--force", is_flag=True, help="Write over files that are there.")
def new(name: str, csv: Path | None, target: str | None, by: str | None, force: bool) -> None:
    """Write a task and a job file that run as they are: NAME.py and NAME.toml, in this folder.

    Both are yours to change; their comments say what can be. With --csv the task reads a table of your own: it
    predicts one column from the others.
    """
    from .new_task import write_task

    if csv is None and (target or by):
        raise click.UsageError("--target and --by name columns of a table: give it with --csv.")
    write_task(name, csv, target, by, force=force)
