"""`warren check`: one batch of a task on this machine, before it goes anywhere."""

from __future__ import annotations

from pathlib import Path

import click

from . import options


@click.command(
    epilog="\b\nExamples:\n  warren check lung.py\n  warren check job.toml -P hidden=128 --data-dir /srv/scans\n"
    "  warren check job.toml --plot clients.png\n  warren check digits --json | jq .update_bytes"
)
@options.job_or_task
@options.settings
@options.params
@click.option("--client", type=click.IntRange(min=0), default=0, show_default=True, help="Whose data.")
@click.option("--device", default="auto", show_default=True, envvar="WARREN_DEVICE", help="auto, cpu, cuda or cuda:1.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    envvar="WARREN_DATA_DIR",
    help="Given to the task as client.data_dir.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw which client holds how much of which class (PNG); reads every client's data.",
)
@options.as_json
def check(
    job: str,
    settings: tuple[str, ...],
    params: tuple[str, ...],
    client: int,
    device: str,
    data_dir: Path | None,
    plot: Path | None,
    as_json: bool,
) -> int:
    """Run one batch of a task on this machine, and say what was seen, or the line at fault.

    JOB is a job file, a task file (.py), or the name of a task that ships. It runs the task's code here, trains on
    one batch of one client, and stores nothing.
    """
    from .checking import CheckOptions, check_job

    return check_job(job, settings, params, CheckOptions(client, device, data_dir, plot, as_json))
