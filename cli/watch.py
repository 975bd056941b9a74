"""`warren watch`: follow a job that runs somewhere."""

from __future__ import annotations

from pathlib import Path

import click

from . import options


@click.command(
    epilog="\b\nExamples:\n  warren watch @last\n  warren watch lung-4\n  warren watch lung-4f09ab --json | jq .metrics"
)
@options.job
@options.as_json
@options.store
@options.servers
def watch(job: str, as_json: bool, store: Path | None, servers: options.Given) -> int:
    """Follow a job; Ctrl-C only detaches.

    JOB is an id, the start of one that is unique, or @last. Without a terminal it prints a line for each
    thing that happened, and ends when the job pauses (exit code 3).
    """
    from .connect import open_view
    from .jobs import find_job
    from .watching import follow_job

    with open_view(servers, store) as view:
        return follow_job(view, find_job(view, job), as_json=as_json)
