"""Options that several commands share. Light: imported before anything is known to be needed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])
Given = dict[str, str | None]


def completed(offers: str) -> Callable[[click.Context, click.Parameter, str], Any]:
    """What a shell offers for a word: one of the functions of `completing`, which is imported only then."""

    def answer(ctx: click.Context, _: click.Parameter, incomplete: str) -> Any:
        from . import completing

        return getattr(completing, offers)(ctx, incomplete)

    return answer


_SERVERS = (
    click.option(
        "--context",
        metavar="NAME",
        help="A named set of addresses [WARREN_CONTEXT].",
        shell_complete=completed("contexts"),
    ),
    click.option("--amqp", metavar="URL", help="RabbitMQ [WARREN_AMQP]."),
    click.option("--redis", metavar="URL", help="Redis [WARREN_REDIS]."),
    click.option("--s3", metavar="URL", help="MinIO, or another S3 [WARREN_S3]."),
    click.option("--bucket", "s3_bucket", metavar="NAME", help="The bucket there [WARREN_S3_BUCKET]."),
)
_NAMES = ("context", "amqp", "redis", "s3", "s3_bucket")


def servers(function: _F) -> _F:
    """Adds the address options; the function gets them as one mapping, `servers`."""

    @functools.wraps(function)
    def gathered(*positional: Any, **named: Any) -> Any:
        given = {name: named.pop(name) for name in _NAMES}
        return function(*positional, servers=given, **named)

    for option in reversed(_SERVERS):
        gathered = option(gathered)
    return gathered  # type: ignore[return-value]


_SEEN = (
    click.option("--seen-amqp", metavar="URL", envvar="WARREN_SEEN_AMQP", help="RabbitMQ, as the site reaches it."),
    click.option("--seen-redis", metavar="URL", envvar="WARREN_SEEN_REDIS", help="Redis, as the site reaches it."),
    click.option("--seen-s3", metavar="URL", envvar="WARREN_SEEN_S3", help="MinIO, as the site reaches it."),
)


def seen(function: _F) -> _F:
    """Adds the addresses by which a site finds the servers; the function gets them as one mapping, `seen`."""

    @functools.wraps(function)
    def gathered(*positional: Any, **named: Any) -> Any:
        given = {name: named.pop(name) for name in ("seen_amqp", "seen_redis", "seen_s3")}
        return function(*positional, seen=given, **named)

    for option in reversed(_SEEN):
        gathered = option(gathered)
    return gathered  # type: ignore[return-value]


job = click.argument("job", shell_complete=completed("jobs"))
job_or_task = click.argument("job", shell_complete=completed("job_or_task"))
which = click.argument("which", default="final", shell_complete=completed("models"))
store = click.option(
    "--store",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Look at the runs in this folder, not at servers.",
)
as_json = click.option("--json", "as_json", is_flag=True, envvar="WARREN_JSON", help="One JSON object a line.")
settings = click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    envvar="WARREN_SET",
    help="Any field of the job: --set train.lr=0.05",
)
params = click.option(
    "-P",
    "--param",
    "params",
    metavar="NAME=VALUE",
    multiple=True,
    envvar="WARREN_PARAM",
    help="An argument of the task's model().",
)
