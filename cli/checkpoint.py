"""`warren checkpoint`: list and fetch the models of a job."""

from __future__ import annotations

from pathlib import Path

import click

from . import options


@click.group(
    epilog="\b\nExamples:\n  warren checkpoint list @last\n  warren checkpoint get @last best -o model.safetensors"
)
def checkpoint() -> None:
    """List and fetch the models of a job: ordinary .safetensors files."""


@checkpoint.command("list")
@click.argument("job")
@options.as_json
@options.store
@options.servers
def list_checkpoints(job: str, as_json: bool, store: Path | None, servers: options.Given) -> None:
    """The checkpoints of a job, round by round, and which are final and best."""
    from .checkpoints import print_checkpoints
    from .connect import open_view
    from .jobs import find_job

    with open_view(servers, store) as view:
        print_checkpoints(view, find_job(view, job), as_json=as_json)


@checkpoint.command(
    epilog="\b\nExamples:\n  warren checkpoint get lung-4f\n  warren checkpoint get lung-4f 12 -o round12.safetensors"
)
@click.argument("job")
@click.argument("which", default="final")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="A file, or a folder; default: JOB-WHICH.safetensors here.",
)
@options.store
@options.servers
def get(job: str, which: str, output: Path | None, store: Path | None, servers: options.Given) -> None:
    """Fetch a model. WHICH is final, best, last, or a round's number."""
    from .checkpoints import fetch_checkpoint
    from .connect import open_view
    from .jobs import find_job

    with open_view(servers, store) as view:
        click.echo(str(fetch_checkpoint(view, find_job(view, job), which, output)))
