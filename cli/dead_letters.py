"""The dead letters of the servers: listed, shown, sent again, dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import click

from ..aggregator.letters import Letter, NotReplayed, fate, read_letter, replay
from ..broker.parked import LETTERS_MAX, parked
from ..broker.ports import Broker
from ..storage.errors import StorageError
from ..storage.objects import ObjectStore
from .connect import open_servers
from .errors import DONE, FAILED, CliError, UsageMistake
from .options import Given
from .tables import print_table

FACTS = ("job", "round", "kind", "client", "source")


def print_letters(given: Given, *, as_json: bool) -> None:
    """A line a letter."""
    with _letters(given) as (_, _, letters):
        if as_json:
            for letter in letters:
                click.echo(json.dumps(_facts(letter), ensure_ascii=False))
            return
        if not letters:
            click.echo("no dead letters", err=True)
            return
        print_table(["letter", *FACTS, "reason"], [_row(letter) for letter in letters])
        if len(letters) >= LETTERS_MAX:
            click.echo(f"the oldest {LETTERS_MAX}; there may be more", err=True)


def print_letter(given: Given, text: str, *, as_json: bool) -> None:
    """Everything about one letter."""
    with _letters(given) as (_, store, letters):
        (letter, *_) = _chosen(letters, (text,), everything=False)
        became = _fate(store, letter)
        if as_json:
            order = letter.order.model_dump() if letter.order else None
            click.echo(json.dumps({**_facts(letter), "became": became, "order": order}, ensure_ascii=False))
            return
        for name, value in {**_facts(letter), "became": became}.items():
            click.echo(f"{name:<9} {value}".rstrip())


def settle_letters(
    given: Given, verb: Literal["replay", "drop"], texts: Sequence[str], *, everything: bool, as_json: bool
) -> int:
    """Send letters again, or drop them. Returns the exit code: 1 where one could not be sent again.

    Raises:
        UsageMistake: none was named, or a name fits none or several.
    """
    if bool(texts) == everything:
        raise UsageMistake("name letters, or say --all.")
    refused = 0
    with _letters(given) as (broker, store, letters):
        for letter in _chosen(letters, texts, everything=everything):
            if verb == "drop":
                letter.delivery.ack()
                _say(letter, "dropped", "", as_json=as_json)
                continue
            try:
                _say(letter, "replayed", replay(broker, store, letter), as_json=as_json)
            except NotReplayed as reason:
                refused += 1
                _say(letter, "left", str(reason), as_json=as_json)
    return FAILED if refused else DONE


@contextmanager
def _letters(given: Given) -> Iterator[tuple[Broker, ObjectStore, list[Letter]]]:
    with open_servers(given, "warren dead-letter") as servers, parked(servers.broker) as deliveries:
        yield servers.broker, servers.store, [read_letter(delivery) for delivery in deliveries]


def _chosen(letters: Sequence[Letter], texts: Sequence[str], *, everything: bool) -> list[Letter]:
    """The letters that are meant, each once; several may share an id, where one was sent twice."""
    if everything:
        return list(letters)
    found: list[Letter] = []
    for text in texts:
        ids = {letter.id for letter in letters if letter.id.startswith(text)}
        if len(ids) > 1:
            raise UsageMistake(f"{len(ids)} letters start with {text!r}: {', '.join(sorted(ids)[:5])}. Write more.")
        if not ids:
            raise CliError(f"no dead letter {text!r}. `warren dead-letter list` names them.")
        found += [letter for letter in letters if letter.id in ids and letter not in found]
    return found


def _fate(store: ObjectStore, letter: Letter) -> str:
    try:
        return fate(store, letter)
    except StorageError as error:
        return f"not known: {error}"


def _facts(letter: Letter) -> dict[str, str]:
    queue = letter.fact("x-first-death-queue")
    return {"letter": letter.id, **{name: letter.fact(name) for name in FACTS}, "reason": letter.reason, "queue": queue}


def _row(letter: Letter) -> list[str]:
    return [letter.id, *(letter.fact(name)[:40] for name in FACTS), letter.reason[:100]]


def _say(letter: Letter, what: str, more: str, *, as_json: bool) -> None:
    if as_json:
        facts = {"letter": letter.id, "job": letter.fact("job"), "client": letter.fact("client"), "event": what}
        click.echo(json.dumps({**facts, "detail": more}, ensure_ascii=False))
        return
    joined = {"replayed": f" to {more}", "left": f": {more}"}.get(what, "")
    click.echo(f"{letter.id} {what}{joined}")
