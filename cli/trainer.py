"""`warren trainer`: start one, list and drain those that are there."""

from __future__ import annotations

from pathlib import Path

import click

from . import options

_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)


@click.group(epilog="\b\nExamples:\n  warren trainer start --accept-code\n  warren trainer list")
def trainer() -> None:
    """Start a trainer, list or drain those that are there."""


@trainer.command(
    epilog="\b\nExamples:\n  warren trainer start --accept-code\n"
    "  warren trainer start --site st-mary --tasks /srv/tasks --data-dir /srv/scans --data loader.py"
)
@click.option("--pool", metavar="NAME", envvar="WARREN_POOL", help="Take from this pool (default: default).")
@click.option("--site", metavar="NAME", envvar="WARREN_SITE", help="Be this site.")
@click.option("--device", default="auto", show_default=True, envvar="WARREN_DEVICE", help="auto, cpu or cuda:0, …")
@click.option("--data-dir", type=_FOLDER, envvar="WARREN_DATA_DIR", help="Given to the task as client.data_dir.")
@click.option(
    "--data",
    "loader",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    envvar="WARREN_DATA",
    help="A file with a data(client) of this site's own, used instead of the task's.",
)
@click.option("--tasks", type=_FOLDER, envvar="WARREN_TASKS", help="A folder of task files that may run here.")
@click.option("--accept-code", is_flag=True, envvar="WARREN_ACCEPT_CODE", help="Run the task that comes with a job.")
@click.option(
    "--share-errors",
    is_flag=True,
    envvar="WARREN_SHARE_ERRORS",
    help='At a site: let an exception\'s text leave, where the job says share_errors = "full".',
)
@click.option(
    "--name", metavar="NAME", envvar="WARREN_NAME", help="Shown in lists; default: this machine's and chance."
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="WARREN_CACHE",
    help="A folder for checkpoints and updates on their way; default: a temporary one.",
)
@click.option(
    "--personal",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="WARREN_PERSONAL",
    help="At a site: where layers that stay there are kept, one folder for all its trainers; default: in --cache.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(1, 65535),
    envvar="WARREN_METRICS_PORT",
    help="Serve /healthz, /readyz and /metrics here, on WARREN_METRICS_HOST (127.0.0.1).",
)
@options.servers
def start(
    pool: str | None,
    site: str | None,
    device: str,
    data_dir: Path | None,
    loader: Path | None,
    tasks: Path | None,
    accept_code: bool,
    share_errors: bool,
    name: str | None,
    cache: Path | None,
    personal: Path | None,
    metrics_port: int | None,
    servers: options.Given,
) -> int:
    """Take round jobs and train, until stopped. SIGTERM finishes or hands back the one in hand."""
    from .services import TrainerOptions, run_trainer

    told = TrainerOptions(
        pool,
        site,
        device,
        data_dir,
        loader,
        tasks,
        accept_code,
        share_errors or site is None,
        name,
        cache,
        metrics_port,
        personal,
    )
    return run_trainer(servers, told)


@trainer.command("list", epilog="\b\nExamples:\n  warren trainer list\n  warren trainer list --json | jq -r .name")
@options.as_json
@options.servers
def list_trainers(as_json: bool, servers: options.Given) -> None:
    """The trainers that are there, and what each is at."""
    from .services import print_presences

    print_presences(servers, "trainer", as_json=as_json)


@trainer.command(epilog="\b\nExamples:\n  warren trainer drain gpu-7-3fa2\n  warren trainer drain --pool gpu --wait 60")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--pool", metavar="NAME", help="Every trainer of this pool.")
@click.option("--site", metavar="NAME", help="Every trainer of this site.")
@click.option("--wait", type=click.FloatRange(min=0), metavar="SECONDS", help="Until they are gone, at most so long.")
@options.as_json
@options.servers
def drain(
    names: tuple[str, ...],
    pool: str | None,
    site: str | None,
    wait: float | None,
    as_json: bool,
    servers: options.Given,
) -> None:
    """Ask trainers to stop, from anywhere: each hands back what it has in hand, and ends."""
    from .draining import drain_trainers

    drain_trainers(servers, names, pool, site, wait, as_json=as_json)
