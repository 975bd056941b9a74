"""`warren job fork | rerun | verify | diff`: jobs that come from others, and whether their bytes are the same."""

from __future__ import annotations

from pathlib import Path

import click

from . import options

_trainers = click.option(
    "--trainers", type=click.IntRange(1, 256), envvar="WARREN_TRAINERS", help="With --store: processes."
)
_device = click.option("--device", default="auto", show_default=True, envvar="WARREN_DEVICE", help="With --store.")
_data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    envvar="WARREN_DATA_DIR",
    help="With --store: given to the task as client.data_dir.",
)


@click.command(
    short_help="Start a new job from a checkpoint of another.",
    epilog="\b\nExamples:\n  warren job fork @last --at 30 --set train.lr=0.01\n"
    "  warren job fork lung-4f --at 12 --set task=lung.py --name lung-fixed\n"
    "  warren job fork digits-9o --at 5 --set rounds=20 --store runs",
)
@options.job
@click.option(
    "--at", "at", type=click.IntRange(0, 99_999), required=True, metavar="ROUND", help="The round to start from."
)
@options.settings
@options.params
@click.option("--name", metavar="NAME", help="What the new id starts with; default: the task's name.")
@click.option("--dry-run", is_flag=True, help="Show the whole resolved job, and store nothing.")
@options.as_json
@options.store
@options.servers
def fork(
    job: str,
    at: int,
    settings: tuple[str, ...],
    params: tuple[str, ...],
    name: str | None,
    dry_run: bool,
    as_json: bool,
    store: Path | None,
    servers: options.Given,
) -> int:
    """Start a new job from a checkpoint of this one, and print its id.

    The model after ROUND is copied, with the strategy's state and what is kept for clients. Rounds count anew
    from 1; without --set rounds=N the new job has the rounds that were left.
    """
    from .fork import Wish, fork_job

    return fork_job(Wish(job, at, settings, params, name), servers, store, dry_run=dry_run, as_json=as_json)


@click.command(
    short_help="Run a job again, under a new id.",
    epilog="\b\nExamples:\n  warren job rerun digits-9o --store runs\n  warren job rerun @last --follow\n"
    "  warren job verify digits-k2 --against digits-9o",
)
@options.job
@click.option("--follow", is_flag=True, help="Watch the new job until it ends, then compare.")
@_trainers
@_device
@_data_dir
@options.as_json
@options.store
@options.servers
def rerun(
    job: str,
    follow: bool,
    trainers: int | None,
    device: str,
    data_dir: Path | None,
    as_json: bool,
    store: Path | None,
    servers: options.Given,
) -> int:
    """Run a job again: the stored task, settings and seed under a new id.

    Versions that differ from those it was made with are named. With --store it runs here; at the end it says
    whether the bytes of the checkpoints are the same.
    """
    from .rerun import rerun_here, rerun_on_servers

    if store is not None:
        from .running import RunOptions

        return rerun_here(job, RunOptions(store, trainers, device, data_dir, as_json))
    return rerun_on_servers(job, servers, follow=follow, as_json=as_json)


@click.command(
    short_help="Make each checkpoint again, and compare the bytes.",
    epilog="\b\nExamples:\n  warren job verify @last\n  warren job verify lung-4f --json\n"
    "  warren job verify digits-k2 --against digits-9o --store runs",
)
@options.job
@click.option(
    "--against",
    metavar="JOB",
    help="Compare with the checkpoints of this job, instead of making them again.",
    shell_complete=options.completed("jobs"),
)
@options.as_json
@options.store
@options.servers
def verify(job: str, against: str | None, as_json: bool, store: Path | None, servers: options.Given) -> int:
    """Make each checkpoint again from the updates that are kept, and say whether the bytes are the same.

    Rounds that can't be made again, as retention took their updates, are named. Exit code 1 where bytes differ.
    """
    from .connect import open_view
    from .jobs import find_job
    from .verify import print_comparison, print_verdicts

    with open_view(servers, store) as view:
        found = find_job(view, job)
        if against is None:
            return print_verdicts(view, found, as_json=as_json)
        return print_comparison(view, found, find_job(view, against), as_json=as_json)


@click.command(
    short_help="Two jobs side by side.",
    epilog="\b\nExamples:\n  warren job diff lung-4f lung-9o\n  warren job diff lung-4f @last -o curves.png",
)
@click.argument("one", shell_complete=options.completed("jobs"))
@click.argument("other", shell_complete=options.completed("jobs"))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Draw both jobs' curves here (PNG)."
)
@options.as_json
@options.store
@options.servers
def diff(one: str, other: str, output: Path | None, as_json: bool, store: Path | None, servers: options.Given) -> None:
    """Two jobs side by side: settings, code, environment and metrics that differ."""
    from .connect import open_view
    from .diff import print_difference
    from .jobs import find_job

    with open_view(servers, store) as view:
        print_difference(view, find_job(view, one), find_job(view, other), output, as_json=as_json)
