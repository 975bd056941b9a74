"""`warren setup`: what the servers need before the first job."""

from __future__ import annotations

from pathlib import Path

import click

from . import options


@click.command(epilog="\b\nExamples:\n  warren setup\n  warren setup --site st-mary --site general --pool gpu")
@click.option("--pool", "pools", multiple=True, metavar="NAME", help="Make this pool's queues too.")
@click.option("--site", "sites", multiple=True, metavar="NAME", help="Make this site's queues too.")
@click.option(
    "--accounts",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Make the store's accounts for the secrets in this file too (`warren credentials make` wrote it).",
)
@options.servers
def setup(pools: tuple[str, ...], sites: tuple[str, ...], accounts: Path | None, servers: options.Given) -> None:
    """Make the bucket and the queues, and see that Redis answers. Can be repeated."""
    from ..broker.topology import SUBMISSIONS, evaluations_queue, rounds_queue
    from .connect import open_servers
    from .names import source_of

    sources = dict.fromkeys(
        [
            "pool.default",
            *(source_of(pool, None) for pool in pools),
            *(source_of(None, site) for site in sites),
        ]
    )
    queues = [queue(source) for source in sources for queue in (rounds_queue, evaluations_queue)]
    with open_servers(servers, "warren setup") as opened:
        shown = opened.addresses.shown()
        opened.store.make_bucket()
        click.echo(f"bucket {shown['bucket']} is there  ({shown['s3']})")
        opened.broker.declare([SUBMISSIONS, *queues])
        click.echo(f"queues are there: {', '.join([SUBMISSIONS, *queues])}  ({shown['amqp']})")
        opened.ledger.now()
        click.echo(f"redis answers  ({shown['redis']})")
        if accounts is not None:
            from .store_accounts import make_store_accounts

            names = make_store_accounts(opened.addresses, accounts)
            click.echo(f"accounts of the store are there: {', '.join(names)}")
