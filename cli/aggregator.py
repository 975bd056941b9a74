"""`warren aggregator`: start one, list those that are there."""

from __future__ import annotations

from pathlib import Path

import click

from . import options


@click.group(epilog="\b\nExamples:\n  warren aggregator start\n  warren aggregator list")
def aggregator() -> None:
    """Start an aggregator, or list those that are there."""


@aggregator.command(
    epilog="\b\nExamples:\n  warren aggregator start\n  WARREN_LOG=json warren aggregator start --name agg-1"
)
@click.option(
    "--name", metavar="NAME", envvar="WARREN_NAME", help="Shown in lists; default: this machine's and chance."
)
@click.option(
    "--scratch",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="WARREN_SCRATCH",
    help="A folder for updates on their way; default: a temporary one.",
)
@click.option(
    "--lease",
    metavar="TIME",
    default="10s",
    show_default=True,
    envvar="WARREN_LEASE",
    help="How long the others wait before they lead the jobs of an aggregator that died.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(1, 65535),
    envvar="WARREN_METRICS_PORT",
    help="Serve /healthz, /readyz and /metrics here, on WARREN_METRICS_HOST (127.0.0.1).",
)
@click.option(
    "--tracking",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="WARREN_TRACKING",
    help="A folder for the files of TensorBoard, MLflow and W&B, where jobs name them in [track].",
)
@click.option(
    "--memory-limit",
    metavar="SIZE",
    envvar="WARREN_MEMORY_LIMIT",
    help="Fold models range by range that would take more than this, such as 2GB: slower, same bytes.",
)
@options.servers
def start(
    name: str | None,
    scratch: Path | None,
    lease: str,
    metrics_port: int | None,
    tracking: Path | None,
    memory_limit: str | None,
    servers: options.Given,
) -> int:
    """Lead jobs until stopped. Several share the jobs; SIGTERM hands them over."""
    from .services import run_aggregator

    return run_aggregator(servers, name, scratch, lease, metrics_port, tracking, memory_limit)


@aggregator.command("list", epilog="\b\nExample:\n  warren aggregator list")
@options.as_json
@options.servers
def list_aggregators(as_json: bool, servers: options.Given) -> None:
    """The aggregators that are there."""
    from .services import print_presences

    print_presences(servers, "aggregator", as_json=as_json)
