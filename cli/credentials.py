"""`warren credentials`: the logins of the consoles; and the making of an installation's credentials."""

from __future__ import annotations

from pathlib import Path

import click

from . import options


@click.group(
    invoke_without_command=True,
    epilog="\b\nExamples:\n  docker compose run --rm cli credentials\n  docker compose run --rm admin credentials",
)
@options.servers
@click.pass_context
def credentials(context: click.Context, servers: options.Given) -> None:
    """The logins of the consoles: this command's own accounts, in the clear."""
    if context.invoked_subcommand is not None:
        return
    from .context import resolve
    from .credentials_shown import print_logins

    print_logins(resolve(servers))


@credentials.command(epilog="\b\nExample:\n  warren credentials make credentials")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--amqp", metavar="URL", default="amqp://rabbitmq:5672/", show_default=True, help="RabbitMQ, no user.")
@click.option("--redis", metavar="URL", default="redis://redis:6379/0", show_default=True, help="Redis, no user.")
@click.option("--bucket", metavar="NAME", default="warren", show_default=True, help="The bucket.")
def make(folder: Path, amqp: str, redis: str, bucket: str) -> None:
    """Make the credentials of a whole installation in FOLDER; what is there stays as it is."""
    from .credentials_made import Places, make_credentials

    made = make_credentials(folder, Places(amqp, redis, bucket))
    click.echo(f"made {made} files of credentials" if made else "credentials are there, nothing changed")
