"""`warren job`: list, show and command jobs, and what happened to them. What else it can stands beside."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from . import options
from .job_lineage import diff, fork, rerun, verify
from .job_room import gc, rm

Command = Literal["pause", "resume", "cancel"]


@click.group(epilog="\b\nExamples:\n  warren job list\n  warren job show @last\n  warren job pause lung-4")
def job() -> None:
    """Look at jobs, command them, fork, verify and remove them. A job is an id, the unique start of one, or @last."""


@job.command(
    "list",
    epilog="\b\nExamples:\n  warren job list\n  warren job list --json | jq -r .job\n  warren job list --store runs",
)
@options.as_json
@options.store
@options.servers
def list_jobs(as_json: bool, store: Path | None, servers: options.Given) -> None:
    """The jobs, newest first."""
    from .connect import open_view
    from .job_report import print_jobs

    with open_view(servers, store) as view:
        print_jobs(view, as_json=as_json)


@job.command(epilog="\b\nExamples:\n  warren job show @last\n  warren job show lung-4f --json | jq .rounds")
@options.job
@options.as_json
@options.store
@options.servers
def show(job: str, as_json: bool, store: Path | None, servers: options.Given) -> None:
    """One job: its settings, every round with who counted and why others did not, and its results."""
    from .connect import open_view
    from .job_report import print_job
    from .jobs import find_job

    with open_view(servers, store) as view:
        print_job(view, find_job(view, job), as_json=as_json)


@job.command(
    epilog="\b\nExamples:\n  warren job logs @last\n  warren job logs lung-4f --tail 20\n"
    "  warren job logs lung-4f --json | jq 'select(.event == \"rejected\")'"
)
@options.job
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Only the last so many lines.")
@options.as_json
@options.store
@options.servers
def logs(job: str, tail: int | None, as_json: bool, store: Path | None, servers: options.Given) -> None:
    """What happened to a job, a line each: rounds, who was left out and why, evaluations, commands.

    It is read from the job's documents, with the times of those who wrote them (UTC). What is yet to come
    `warren watch` shows; services write lines of their own where they run.
    """
    from .connect import open_view
    from .job_logs import print_log
    from .jobs import find_job

    with open_view(servers, store) as view:
        print_log(view, find_job(view, job), tail=tail, as_json=as_json)


@job.command(epilog="\b\nExample:\n  warren job pause @last --reason 'disk is nearly full'")
@options.job
@click.option("--reason", default="", help="Kept with the job.")
@options.store
@options.servers
def pause(job: str, reason: str, store: Path | None, servers: options.Given) -> None:
    """Stop a job after its frozen round; training stops at the next batch."""
    _command("pause", "paused", job, reason, store, servers)


@job.command(epilog="\b\nExample:\n  warren job resume lung-4f")
@options.job
@click.option("--reason", default="", help="Kept with the job.")
@options.store
@options.servers
def resume(job: str, reason: str, store: Path | None, servers: options.Given) -> None:
    """Let a paused job go on; its round is asked again."""
    _command("resume", "resumed", job, reason, store, servers)


@job.command(epilog="\b\nExample:\n  warren job cancel lung-4f --reason 'wrong data'")
@options.job
@click.option("--reason", default="", help="Kept with the job.")
@options.store
@options.servers
def cancel(job: str, reason: str, store: Path | None, servers: options.Given) -> None:
    """End a job; what it has made stays."""
    _command("cancel", "cancelled", job, reason, store, servers)


def _command(command: Command, done: str, job: str, reason: str, store: Path | None, servers: options.Given) -> None:
    from .connect import open_view
    from .jobs import command_job, find_job

    with open_view(servers, store) as view:
        found = find_job(view, job)
        written, _ = command_job(view, found, command, reason)
    already = "" if written else " already (nothing written)"
    click.echo(f"{found} {done if written or command != 'resume' else 'runs'}{already}")


for _more in (fork, rerun, verify, diff, gc, rm):
    job.add_command(_more)
