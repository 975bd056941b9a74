"""`warren dead-letter`: round jobs that no trainer could do, or nobody could read."""

from __future__ import annotations

import click

from . import options

_all = click.option("--all", "everything", is_flag=True, help="Every dead letter.")


@click.group(
    short_help="Round jobs that died: list, show, send again, drop.",
    epilog="\b\nExamples:\n  warren dead-letter list\n  warren dead-letter show 3f2a91c0\n"
    "  warren dead-letter replay 3f2a\n  warren dead-letter drop --all",
)
def dead_letter() -> None:
    """Round jobs that died: their trainer fell each time, or nobody could read them.

    A letter is an id, or the unique start of one.
    """


@dead_letter.command("list", epilog="\b\nExample:\n  warren dead-letter list --json | jq .job")
@options.as_json
@options.servers
def list_letters(as_json: bool, servers: options.Given) -> None:
    """The dead letters, oldest first, with why they died."""
    from .dead_letters import print_letters

    print_letters(servers, as_json=as_json)


@dead_letter.command(epilog="\b\nExample:\n  warren dead-letter show 3f2a91c0")
@click.argument("letter")
@options.as_json
@options.servers
def show(letter: str, as_json: bool, servers: options.Given) -> None:
    """One dead letter: what it asked for, why it died, and what became of its client in the round."""
    from .dead_letters import print_letter

    print_letter(servers, letter, as_json=as_json)


@dead_letter.command(
    short_help="Send dead letters again.",
    epilog="\b\nExamples:\n  warren dead-letter replay 3f2a91c0\n  warren dead-letter replay --all",
)
@click.argument("letters", nargs=-1, metavar="[LETTER]...")
@_all
@options.as_json
@options.servers
def replay(letters: tuple[str, ...], everything: bool, as_json: bool, servers: options.Given) -> int:
    """Send dead letters again to the queue they came from, while their round is open.

    The client is asked anew, and its update counts if the round is not closed by then.
    """
    from .dead_letters import settle_letters

    return settle_letters(servers, "replay", letters, everything=everything, as_json=as_json)


@dead_letter.command(epilog="\b\nExamples:\n  warren dead-letter drop 3f2a91c0\n  warren dead-letter drop --all")
@click.argument("letters", nargs=-1, metavar="[LETTER]...")
@_all
@options.as_json
@options.servers
def drop(letters: tuple[str, ...], everything: bool, as_json: bool, servers: options.Given) -> int:
    """Delete dead letters."""
    from .dead_letters import settle_letters

    return settle_letters(servers, "drop", letters, everything=everything, as_json=as_json)
