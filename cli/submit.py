"""`warren submit`: store a job, tell the aggregators, print its id."""

from __future__ import annotations

import click

from . import options


@click.command(
    epilog="\b\nExamples:\n  warren submit job.toml\n"
    "  warren submit job.toml --set train.lr=0.05 -P hidden=128 --follow"
    "\n  JOB=$(warren submit digits --set rounds=5)\n  warren submit job.toml --dry-run"
)
@options.job_or_task
@options.settings
@options.params
@click.option("--dry-run", is_flag=True, help="Show the whole resolved job, and store nothing.")
@click.option("--follow", is_flag=True, help="Watch the job until it ends.")
@options.as_json
@options.servers
def submit(
    job: str,
    settings: tuple[str, ...],
    params: tuple[str, ...],
    dry_run: bool,
    follow: bool,
    as_json: bool,
    servers: options.Given,
) -> int:
    """Hand a job to the aggregators, and print its id.

    JOB is a job file, a task file (.py), or the name of a task that ships.
    """
    from .submission import dry, submit_job

    if dry_run:
        return dry(job, settings, params, as_json=as_json)
    return submit_job(job, settings, params, servers, follow=follow, as_json=as_json)
