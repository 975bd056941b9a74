"""Runs the two services over the servers, until they are asked to stop; lists those that are there."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from ..broker.declaring import declare_missing
from ..broker.topology import SUBMISSIONS, evaluations_queue, rounds_queue
from ..storage.errors import StorageUnavailable
from ..storage.job import seconds
from .connect import Kinds, open_servers, open_view
from .draining import draining
from .errors import UsageMistake
from .log import start_logging
from .names import service_name, source_of
from .options import Given
from .signals import stop_on_signals
from .tables import print_table

LEASE_SECONDS_MIN, LEASE_SECONDS_MAX = 1.0, 600.0


@dataclass(frozen=True, slots=True)
class TrainerOptions:
    """What `warren trainer start` was told."""

    pool: str | None
    site: str | None
    device: str
    data_dir: Path | None
    loader: Path | None
    tasks: Path | None
    accept_code: bool
    share_errors: bool
    name: str | None
    cache: Path | None
    metrics_port: int | None = None
    personal: Path | None = None


MEMORY_LIMIT_MIN = 64 << 20  # beside what the process itself takes


def run_aggregator(
    given: Given,
    name: str | None,
    scratch: Path | None,
    lease: str,
    metrics_port: int | None = None,
    tracking: Path | None = None,
    memory_limit: str | None = None,
) -> int:
    """Lead jobs until stopped. Returns the exit code. Raises UsageMistake."""
    from ..aggregator.service import Aggregator

    lease_seconds, limit = _lease_seconds(lease), _memory_limit(memory_limit)
    start_logging()
    name = service_name(name)
    stop = stop_on_signals()
    with measured(metrics_port) as kinds, open_servers(given, name, kinds) as servers, _folder(scratch) as folder:
        servers.broker.declare([SUBMISSIONS])
        servers.ledger.now()
        aggregator = Aggregator(
            servers.store,
            servers.broker,
            servers.news,
            servers.ledger,
            name=name,
            scratch=folder,
            lease_seconds=lease_seconds,
            memory_limit=limit,
            tracking=tracking,
        )
        aggregator.run(stop)
    return 0


def _lease_seconds(text: str) -> float:
    """The lease's time; too short a one would run out under a busy aggregator's hands. Raises UsageMistake."""
    try:
        value = seconds(text)
    except ValueError as error:
        raise UsageMistake(f"--lease {error}.") from None
    if not LEASE_SECONDS_MIN <= value <= LEASE_SECONDS_MAX:
        raise UsageMistake(f"--lease {text} is not between {LEASE_SECONDS_MIN:g}s and {LEASE_SECONDS_MAX / 60:g}m.")
    return value


def _memory_limit(text: str | None) -> int | None:
    """Bytes, from `2GB` or `512MiB`. Raises UsageMistake."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,3})?)\s*([KMGT])(i?)B\s*", text)
    if found is None:
        raise UsageMistake(f'--memory-limit {text[:80]!r} needs a unit: "2GB", "512MiB".')
    value = float(found[1]) * (1024 if found[3] else 1000) ** ("KMGT".index(found[2]) + 1)
    if value < MEMORY_LIMIT_MIN:
        raise UsageMistake(f"--memory-limit {text} is under {MEMORY_LIMIT_MIN >> 20}MiB, which parts of a model need.")
    return int(value)


def run_trainer(given: Given, told: TrainerOptions) -> int:
    """Take round jobs until stopped. Returns the exit code."""
    from ..trainer.process import TrainingProcess
    from ..trainer.worker import Worker

    source = source_of(told.pool, told.site)
    start_logging()
    name = service_name(told.name)
    if told.site:
        name = f"{source}.{name}"  # a site's account may write presences of its own only
    stop = stop_on_signals()
    with (
        measured(told.metrics_port) as kinds,
        open_servers(given, name, kinds) as servers,
        _folder(told.cache) as folder,
        closing(TrainingProcess(told.device, told.data_dir, told.loader)) as training,
    ):
        declare_missing(servers.broker, [rounds_queue(source), evaluations_queue(source)])
        servers.ledger.now()
        device = training.facts().device
        worker = Worker(
            servers.store,
            servers.broker,
            servers.news,
            servers.ledger,
            training,
            name=name,
            source=source,
            tasks_dir=told.tasks,
            accept_code=told.accept_code,
            cache=folder,
            personal=told.personal,
            device=device,
            share_errors=told.share_errors,
        )
        with draining(servers.ledger, name, stop):
            worker.run(stop)
    return 0


@contextmanager
def measured(port: int | None) -> Iterator[Kinds]:
    """Adapters that measure themselves and a page that shows it, where a port is given. Raises UsageMistake."""
    if port is None:
        yield Kinds()
        return
    from .health import serve
    from .metered import Meters, metered  # prometheus-client is loaded only here

    meters = Meters()
    with serve(port, meters):
        yield metered(meters)


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    """The folder to work in: the one that was named, kept; or a temporary one."""
    if given is None:
        with tempfile.TemporaryDirectory(prefix="warren-", ignore_cleanup_errors=True) as made:
            yield Path(made)
        return
    try:
        given.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageUnavailable(f"{given}: {error.strerror}") from None
    yield given


def print_presences(given: Given, kind: str, *, as_json: bool) -> None:
    """Who of this kind is there."""
    with open_view(given, None) as view:
        assert view.ledger is not None
        found = view.ledger.presences(kind)
    if as_json:
        for one in found:
            click.echo(json.dumps({"name": one.id, **one.fields}, ensure_ascii=False))
        return
    if not found:
        click.echo(f"no {kind} is there: start one with `warren {kind} start`", err=True)
        return
    columns = [name for name in _COLUMNS if any(one.fields.get(name) for one in found)]
    print_table(["name", *columns], [[one.id, *(one.fields.get(name, "") for name in columns)] for one in found])


_COLUMNS = ("source", "host", "device", "state", "jobs", "job", "round", "client", "version")
