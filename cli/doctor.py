"""`warren doctor`: whether the servers are right for Warren, and for one job; what to change where they are not."""

from __future__ import annotations

import click

from . import options


@click.command(
    epilog="\b\nExamples:\n  warren doctor\n  warren doctor job.toml --context lab\n"
    "  WARREN_RABBITMQ_API=https://mq.lab:15671 warren doctor\n"
    "  warren doctor --json | jq 'select(.level == \"wrong\")'"
)
@click.argument("job", required=False, shell_complete=options.completed("job_or_task"))
@options.settings
@options.as_json
@options.servers
def doctor(job: str | None, settings: tuple[str, ...], as_json: bool, servers: options.Given) -> int:
    """Look the servers over, and say what to change: reached with these credentials, versions, limits, policies.

    With JOB (a job file, a task file, or a task that ships) also whether they are right for it: deadlines, queues,
    trainers that are there. It writes one small object and one Redis key, and removes them. Exit code 1 where
    something is wrong, 4 where a server can't be reached.
    """
    from .examination import examine

    return examine(servers, job, settings, as_json=as_json)
