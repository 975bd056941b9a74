"""`warren site`: accounts of sites, made and taken away on live servers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import options

if TYPE_CHECKING:
    from .context import Addresses
    from .site_accounts import Seen

_OUTPUT = click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the bundle to this new file, readable by you alone, instead of printing it.",
)


@click.group(
    epilog="\b\nExamples:\n  warren site add st-mary --output st-mary.env\n"
    "  docker compose run --rm admin site add st-mary\n  warren site revoke st-mary"
)
def site() -> None:
    """Accounts of sites on the three servers. Needs the administrators' credentials."""


@site.command(epilog="\b\nExample:\n  warren site add st-mary --output st-mary.env")
@click.argument("name")
@_OUTPUT
@options.seen
@options.servers
def add(name: str, output: Path | None, servers: options.Given, seen: options.Given) -> None:
    """Make queues and accounts for a site, with just the rights it needs; print what its trainer is started with."""
    from .context import resolve
    from .site_accounts import SiteAccounts

    addresses = resolve(servers)
    _hand_over(SiteAccounts(addresses).add(name, _seen(addresses, seen)), output)


@site.command(epilog="\b\nExample:\n  warren site rotate st-mary --output st-mary.env")
@click.argument("name")
@_OUTPUT
@options.seen
@options.servers
def rotate(name: str, output: Path | None, servers: options.Given, seen: options.Given) -> None:
    """New credentials for a site; the old ones, and what is connected with them, end at once."""
    from .context import resolve
    from .site_accounts import SiteAccounts

    addresses = resolve(servers)
    _hand_over(SiteAccounts(addresses).rotate(name, _seen(addresses, seen)), output)


@site.command(epilog="\b\nExample:\n  warren site revoke st-mary")
@click.argument("name")
@options.servers
def revoke(name: str, servers: options.Given) -> None:
    """Take a site's accounts away: its trainers are cut off at once."""
    from .context import resolve
    from .site_accounts import SiteAccounts

    SiteAccounts(resolve(servers)).revoke(name)
    click.echo(f"revoked {name}")


@site.command("list", epilog="\b\nExamples:\n  warren site list\n  warren site list --json")
@options.as_json
@options.servers
def list_sites(as_json: bool, servers: options.Given) -> None:
    """The sites that have accounts, and on which servers."""
    from .context import resolve
    from .site_accounts import SiteAccounts
    from .site_list import print_sites

    print_sites(SiteAccounts(resolve(servers)).standings(), as_json=as_json)


def _seen(addresses: Addresses, given: options.Given) -> Seen:
    from .context import without_user
    from .site_accounts import Seen

    return Seen(
        amqp=given["seen_amqp"] or without_user(addresses.amqp),
        redis=given["seen_redis"] or without_user(addresses.redis),
        s3=given["seen_s3"] or addresses.s3,
    )


def _hand_over(bundle: str, output: Path | None) -> None:
    if output is None:
        click.echo(bundle, nl=False)
        return
    with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(bundle)
    click.echo(f"wrote {output}: hand it over on a way that nobody else reads", err=True)
