"""Prints the sites and where each has accounts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import click

from .site_accounts import Standing
from .tables import print_table


def print_sites(sites: Sequence[Standing], *, as_json: bool) -> None:
    """One line a site; a missing account is what a failed command left: `add` makes it whole."""
    if as_json:
        for site in sites:
            click.echo(json.dumps(asdict(site)))
        return
    if not sites:
        click.echo("no site has accounts here: `warren site add NAME`", err=True)
        return
    rows = [[one.site, *("yes" if there else "-" for there in (one.rabbitmq, one.redis, one.store))] for one in sites]
    print_table(["site", "rabbitmq", "redis", "minio"], rows)
