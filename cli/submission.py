"""Submitting: the resolved job and its task's source into the store, then the news of it to RabbitMQ."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import click

from ..aggregator.holding import most_held
from ..broker.errors import BrokerUnavailable
from ..broker.messages import Submission, encode
from ..broker.ports import Broker, Outgoing
from ..broker.topology import SUBMISSIONS
from ..storage import keys
from ..storage.errors import SpecInvalid
from ..storage.job import JobSpec, seconds, write_spec
from ..storage.objects import ObjectStore
from .connect import open_servers
from .errors import CliError, UsageMistake
from .jobfile import apply_options, as_job_file, resolve_job, span, start_draft, wants_columns
from .jobs import remember
from .options import Given
from .room_watch import formula
from .task_source import TaskSource
from .watching import follow_job

HELD_SECONDS = 1800.0  # RabbitMQ's own limit on how long a message may be held (consumer_timeout)


def resolve_words(
    job: str, settings: Sequence[str], params: Sequence[str], data_dir: Path | None = None
) -> tuple[JobSpec, TaskSource]:
    """The job that these words of a command line mean; a table's columns are looked over here. Raises SpecInvalid."""
    draft = start_draft(job)
    apply_options(draft, settings, params)
    if wants_columns(draft):
        from .table_job import declare_columns

        declare_columns(draft, data_dir)
    return resolve_job(draft)


def dry(
    job: str, settings: Sequence[str], params: Sequence[str], *, data_dir: Path | None = None, as_json: bool
) -> int:
    """Print the whole resolved job."""
    spec, _ = resolve_words(job, settings, params, data_dir)
    click.echo(spec.model_dump_json() if as_json else as_job_file(spec), nl=as_json)
    return 0


def submit_job(
    job: str, settings: Sequence[str], params: Sequence[str], servers: Given, *, follow: bool, as_json: bool
) -> int:
    """Store the job, tell of it, and follow it where that was asked. Returns the exit code."""
    spec, task = resolve_words(job, settings, params)
    check_deadlines(spec)
    with open_servers(servers, "warren submit") as opened:
        opened.broker.declare([SUBMISSIONS])
        store_job(opened.store, spec, task)
        tell(opened.broker, spec.job)
        remember(opened.view.place, spec.job)
        said = {"event": "submitted", "job": spec.job, "models_max": most_held(spec).models}
        click.echo(json.dumps(said) if as_json else spec.job)
        if not as_json:
            click.echo(formula(spec), err=True)
        return follow_job(opened.view, spec.job, as_json=as_json) if follow else 0


def store_job(store: ObjectStore, spec: JobSpec, task: TaskSource) -> None:
    """The task's source first: a job that has its spec is whole.

    Raises:
        CliError: another job has this id.
    """
    store.create(keys.task(spec.job, task.file), task.body, content_type="text/x-python")
    if not store.create(keys.spec(spec.job), write_spec(spec), content_type="application/json"):
        raise CliError(f"a job {spec.job} is there already. Submit again: ids are drawn anew.")


def tell(broker: Broker, job: str) -> None:
    """News of the job. Lost, it is late and not lost: aggregators list the jobs each minute."""
    try:
        broker.publish([Outgoing(SUBMISSIONS, encode(Submission(job=job)), {"job": job})])
    except BrokerUnavailable as error:
        click.echo(
            f"warren: {job} is stored, and starts when an aggregator lists the jobs (each minute), "
            f"as RabbitMQ did not take the news: {error}",
            err=True,
        )


def check_deadlines(spec: JobSpec) -> None:
    """Refuse deadlines longer than the broker lets a round job be held.

    Raises:
        SpecInvalid: names the deadline, and the limit's own setting.
    """
    limit = held_seconds()
    places = (("deadline", spec.deadline_seconds), ("evaluate.deadline", spec.evaluate.deadline_seconds))
    for name, value in places:
        if value > limit:
            raise SpecInvalid(
                f"{name} {span(value)} is longer than RabbitMQ lets a job be held ({span(limit)}). Lower it, "
                "or raise consumer_timeout there and say so here: WARREN_CONSUMER_TIMEOUT=2h."
            )


def held_seconds() -> float:
    """How long RabbitMQ lets a trainer hold a round job. Raises UsageMistake."""
    said = os.environ.get("WARREN_CONSUMER_TIMEOUT")
    if not said:
        return HELD_SECONDS
    try:
        return seconds(said)
    except ValueError as error:
        raise UsageMistake(f"WARREN_CONSUMER_TIMEOUT: {error}.") from None
