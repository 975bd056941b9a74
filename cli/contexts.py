"""`warren context`: named sets of addresses, kept in one file of this user's."""

from __future__ import annotations

import click

from . import options

_SOURCES = "file:PATH, env:NAME or command:LINE"


@click.group(
    epilog="\b\nExamples:\n"
    "  warren context add lab --amqp amqps://me@mq.lab:5671/ --amqp-password file:~/.mq\n"
    "  warren context add lab --s3 https://s3.lab --s3-access-key me --s3-secret-key env:LAB_SECRET\n"
    "  warren context add compose --from-compose\n"
    "  warren context use lab"
)
def context() -> None:
    """Named sets of addresses. Secrets stay in files, the environment, or a password manager."""


@context.command("list", epilog="\b\nExample:\n  warren context list")
@options.as_json
def list_contexts(as_json: bool) -> None:
    """The contexts; the one in use is marked."""
    from .context_file import print_contexts

    print_contexts(as_json=as_json)


@context.command(epilog="\b\nExamples:\n  warren context show\n  warren context show --context lab")
@options.servers
def show(servers: options.Given) -> None:
    """The addresses that commands would use now, without secrets."""
    from .context import resolve

    for name, value in resolve(servers).shown().items():
        click.echo(f"{name:<7} {value}")


@context.command(epilog="\b\nExample:\n  warren context use lab")
@click.argument("name", shell_complete=options.completed("contexts"))
def use(name: str) -> None:
    """Use this context from now on."""
    from .context_file import use_context

    use_context(name)
    click.echo(f"using {name}")


@context.command(
    epilog="\b\nExamples:\n  warren context add lab --amqp amqps://me@mq.lab:5671/ --amqp-password file:~/.mq\n"
    "  warren context add lab --s3 https://s3.lab --s3-access-key me --s3-secret-key env:LAB_SECRET"
)
@click.argument("name")
@click.option("--amqp", metavar="URL", help="RabbitMQ, with the user's name and no password.")
@click.option("--amqp-password", metavar="WHERE", help=_SOURCES)
@click.option("--redis", metavar="URL", help="Redis, with the user's name and no password.")
@click.option("--redis-password", metavar="WHERE", help=_SOURCES)
@click.option("--s3", metavar="URL", help="MinIO, or another S3.")
@click.option("--s3-access-key", metavar="KEY", help="The access key's name.")
@click.option("--s3-secret-key", metavar="WHERE", help=_SOURCES)
@click.option("--bucket", "s3_bucket", metavar="NAME", help="The bucket.")
@click.option("--ca-file", metavar="FILE", help="Authorities to trust, as PEM; default: the system's.")
@click.option("--cert-file", metavar="FILE", help="A client's certificate, as PEM.")
@click.option("--key-file", metavar="FILE", help="Its key.")
@click.option("--from-compose", is_flag=True, help="Take what is missing from the compose installation of this folder.")
def add(name: str, from_compose: bool, **given: str | None) -> None:
    """Add a context, or change those settings of it that are given."""
    from .context_compose import from_compose as compose_settings
    from .context_file import add_context

    found = compose_settings(name) if from_compose else {}
    told = {key: value for key, value in given.items() if value is not None}
    click.echo(f"added {name} to {add_context(name, {**found, **told})}")
