"""`warren job gc | rm`: what a store no longer needs, and jobs that are over, go."""

from __future__ import annotations

from pathlib import Path

import click

from . import options


@click.command(
    short_help="Delete what is not needed any more.",
    epilog="\b\nExamples:\n  warren job gc --dry-run\n  warren job gc lung-4f\n  warren job gc --json | jq .key",
)
@click.argument("jobs", nargs=-1, metavar="[JOB]...", shell_complete=options.completed("jobs"))
@click.option("--dry-run", is_flag=True, help="List what would go, and delete nothing.")
@options.as_json
@options.store
@options.servers
def gc(jobs: tuple[str, ...], dry_run: bool, as_json: bool, store: Path | None, servers: options.Given) -> None:
    """Delete what is not needed any more: of these jobs, or of the whole store.

    That is updates of rounds before those that keep_updates keeps, attempts that did not count, checkpoints that
    keep_checkpoints gives up, updates of removed jobs, uploads that broke off. Never anything of a round that is
    not committed. Aggregators do the same for the jobs they lead.
    """
    from .connect import open_view
    from .room import collect

    with open_view(servers, store) as view:
        collect(view, jobs, dry_run=dry_run, as_json=as_json)


@click.command(
    short_help="Delete jobs that are over.",
    epilog="\b\nExamples:\n  warren job rm lung-4f\n  warren job rm lung-4f lung-9o --force",
)
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...", shell_complete=options.completed("jobs"))
@click.option("--force", is_flag=True, help="Also a job that is not over: it is cancelled first.")
@options.as_json
@options.store
@options.servers
def rm(jobs: tuple[str, ...], force: bool, as_json: bool, store: Path | None, servers: options.Given) -> None:
    """Delete jobs that are over, with their models and results. It can't be undone; it can be repeated."""
    from .connect import open_view
    from .room import remove_jobs

    with open_view(servers, store) as view:
        remove_jobs(view, jobs, force=force, as_json=as_json)
