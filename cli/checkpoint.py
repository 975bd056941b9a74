"""`warren checkpoint`: list, fetch, evaluate and compare the models of a job."""

from __future__ import annotations

from pathlib import Path

import click

from . import options

_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)


@click.group(
    epilog="\b\nExamples:\n  warren checkpoint list @last\n  warren checkpoint get @last best -o model.safetensors"
)
def checkpoint() -> None:
    """List, fetch, evaluate and compare the models of a job: ordinary .safetensors files."""


@checkpoint.command(
    "list", epilog="\b\nExamples:\n  warren checkpoint list @last\n  warren checkpoint list lung-4f --store runs"
)
@options.job
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
    "\n  warren checkpoint get lung-4f --ema"
)
@options.job
@options.which
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="A file, or a folder; default: JOB-WHICH.safetensors here.",
)
@click.option("--ema", is_flag=True, help="The running mean up to that round, of a job with strategy.ema.")
@options.store
@options.servers
def get(job: str, which: str, output: Path | None, ema: bool, store: Path | None, servers: options.Given) -> None:
    """Fetch a model. WHICH is final, best, last, or a round's number."""
    from .checkpoints import fetch_checkpoint
    from .connect import open_view
    from .jobs import find_job
    from .running_mean import fetch_running_mean

    fetch = fetch_running_mean if ema else fetch_checkpoint
    with open_view(servers, store) as view:
        click.echo(str(fetch(view, find_job(view, job), which, output)))


@checkpoint.command(
    epilog="\b\nExamples:\n  warren checkpoint evaluate @last --store runs\n"
    "  warren checkpoint evaluate lung-4f 12 --client st-mary --data-dir /srv/scans --accept-code"
)
@options.job
@options.which
@click.option("--client", metavar="NAME", help="On this client's validation share, not on the task's test_data().")
@click.option("--device", default="auto", show_default=True, envvar="WARREN_DEVICE", help="auto, cpu, cuda or cuda:1.")
@click.option("--data-dir", type=_FOLDER, envvar="WARREN_DATA_DIR", help="Given to the task as client.data_dir.")
@click.option("--tasks", type=_FOLDER, envvar="WARREN_TASKS", help="A folder of task files that may run here.")
@click.option("--accept-code", is_flag=True, envvar="WARREN_ACCEPT_CODE", help="Run the task that came with the job.")
@options.as_json
@options.store
@options.servers
def evaluate(
    job: str,
    which: str,
    client: str | None,
    device: str,
    data_dir: Path | None,
    tasks: Path | None,
    accept_code: bool,
    as_json: bool,
    store: Path | None,
    servers: options.Given,
) -> None:
    """Measure a model on this machine, with the job's own task. WHICH is final, best, last, or a round's number."""
    from .connect import open_view
    from .jobs import find_job
    from .measuring import Measuring, print_measured

    told = Measuring(which, client, device, data_dir, tasks, accept_code or store is not None)
    with open_view(servers, store) as view:
        print_measured(view, find_job(view, job), told, as_json=as_json)


@checkpoint.command(
    epilog="\b\nExamples:\n  warren checkpoint diff lung-4f:10 lung-4f:20\n"
    "  warren checkpoint diff lung-4f lung-9o:best\n  warren checkpoint diff a.safetensors b.safetensors"
)
@click.argument("one", shell_complete=options.completed("jobs"))
@click.argument("other", shell_complete=options.completed("jobs"))
@options.as_json
@options.store
@options.servers
def diff(one: str, other: str, as_json: bool, store: Path | None, servers: options.Given) -> int:
    """Compare two models tensor by tensor. Each is a file, JOB, or JOB:WHICH. Exit code 1 where they differ."""
    from .connect import open_view
    from .model_diff import print_model_diff

    if one.endswith(".safetensors") and other.endswith(".safetensors"):
        return print_model_diff(None, one, other, as_json=as_json)
    with open_view(servers, store) as view:
        return print_model_diff(view, one, other, as_json=as_json)
