"""Draining trainers: one side asks over Redis, the other looks every few seconds and stops as on SIGTERM."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import click

from ..storage import ledger as redis_ledger
from ..storage.errors import StorageError
from ..storage.ledger import RedisLedger
from ..storage.ports import Presence
from .connect import who
from .context import resolve
from .errors import CliError, UsageMistake
from .lazy import nearest
from .options import Given

LOOK_SECONDS = 2.0
WAIT_SECONDS = 0.5
GONE_SECONDS = 0.001

log = logging.getLogger("warren.trainer")


@contextmanager
def draining(ledger: RedisLedger, name: str, stop: threading.Event) -> Iterator[None]:
    """Inside, `stop` is set soon after somebody asked this trainer to stop; what was asked before does not count."""
    over = threading.Event()
    thread = threading.Thread(target=_look, args=(ledger, name, stop, over), name="drain", daemon=True)
    try:
        ledger.stopped(name)
    except StorageError as error:  # a site's account may not; its names are drawn anew at each start
        log.debug("drain: %s", error)
    thread.start()
    try:
        yield
    finally:
        over.set()
        with suppress(StorageError):
            ledger.announce(Presence("trainer", name, {"state": "stopped"}), GONE_SECONDS)  # else it is listed for 20 s


def _look(ledger: RedisLedger, name: str, stop: threading.Event, over: threading.Event) -> None:
    while not over.wait(LOOK_SECONDS) and not stop.is_set():
        try:
            by = ledger.asked_to_stop(name)
        except StorageError:
            continue
        if by is not None:
            log.info("stopping: drained by %s", by)
            stop.set()


def drain_trainers(
    given: Given, names: Sequence[str], pool: str | None, site: str | None, wait: float | None, *, as_json: bool
) -> None:
    """Ask these trainers to stop, or all of a pool or site; perhaps wait until they are gone.

    Raises:
        UsageMistake: no such trainer.
        CliError: some are still there after the wait.
    """
    ledger = RedisLedger(redis_ledger.connect(resolve(given).redis_with_tls))
    chosen = _chosen(ledger.presences("trainer"), names, pool, site)
    for one in chosen:
        ledger.ask_to_stop(one, who())
    left = _awaited(ledger, chosen, wait) if wait is not None else set(chosen)
    for one in chosen:
        state = "asked" if wait is None else "there" if one in left else "gone"
        click.echo(json.dumps({"name": one, "state": state}) if as_json else f"{one} {_WORDS[state]}")
    if wait is not None and left:
        raise CliError(f"{len(left)} of {len(chosen)} are still there after {wait:g} s: {', '.join(sorted(left)[:5])}")


_WORDS = {"asked": "will stop: its work goes to others", "there": "is still there", "gone": "is gone"}


def _chosen(there: Sequence[Presence], names: Sequence[str], pool: str | None, site: str | None) -> list[str]:
    known = [one.id for one in there]
    for name in names:
        if name not in known:
            raise UsageMistake(f"no trainer {name!r} is there{nearest(name, known)} `warren trainer list` names them.")
    source = f"pool.{pool}" if pool else f"site.{site}"
    if not names and not (pool or site):
        raise UsageMistake("name trainers to drain, or all of a --pool or --site.")
    return list(names) or [one.id for one in there if one.fields.get("source") == source]


def _awaited(ledger: RedisLedger, names: Sequence[str], seconds: float) -> set[str]:
    """Those that are still there after so long. A trainer that died is forgotten within 20 s."""
    until = time.monotonic() + seconds
    while True:
        left = {one.id for one in ledger.presences("trainer")} & set(names)
        if not left or time.monotonic() > until:
            return left
        time.sleep(WAIT_SECONDS)
