"""Measures a stored model on this machine: the job's task in a training process, as a trainer would evaluate it."""

from __future__ import annotations

import json
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import click

from ..storage.job import JobSpec
from ..trainer.code import TaskCode, TaskNotInstalled
from ..trainer.process import Crashed, Evaluated, Stopped, TaskFailed, TrainingProcess, Work
from .changes import metrics_text
from .checkpoints import fetch_checkpoint
from .connect import View
from .errors import CliError, UsageMistake
from .lazy import nearest
from .status import StatusReader


@dataclass(frozen=True, slots=True)
class Measuring:
    """What `warren checkpoint evaluate` was told."""

    which: str
    client: str | None
    device: str
    data_dir: Path | None
    tasks: Path | None
    accept_code: bool


def print_measured(view: View, job: str, told: Measuring, *, as_json: bool) -> None:
    """Print the loss and the metrics.

    Raises:
        UsageMistake, CliError: no such client or model, a task that may not run here, or that failed.
    """
    spec = StatusReader(view.store, job).spec
    index = _index(spec, told.client)
    with tempfile.TemporaryDirectory(prefix="warren-", ignore_cleanup_errors=True) as folder:
        model = fetch_checkpoint(view, job, told.which, Path(folder) / "model.safetensors")
        work = Work(
            kind="test" if told.client is None else "evaluate",
            spec=spec,
            job_round=0,
            client=told.client or "held-out",
            index=index,
            count=len(spec.client_names),
            site=told.client if spec.sites else None,
            attempt="here",
            task_path=_task(view, spec, told, Path(folder)),
            base_path=model,
            output_path=Path(folder) / "unused",
            held_out=told.client is None,
        )
        with closing(TrainingProcess(told.device, told.data_dir)) as training:
            outcome = training.run(work, lambda: True)
    match outcome:
        case Evaluated() if not outcome.examples:
            raise CliError(_NOTHING[told.client is None])
        case Evaluated():
            _print(job, told, outcome, as_json)
        case TaskFailed():
            raise CliError(f"the task failed: {outcome.failure}")
        case Crashed() | Stopped():
            raise CliError(f"the training process ended: {getattr(outcome, 'reason', 'stopped')}")


_NOTHING = {
    True: "the task has no test_data(): name a client with --client, to measure on its validation share.",
    False: "this client has no validation share: [evaluate] share is 0, or its examples are too few.",
}


def _index(spec: JobSpec, client: str | None) -> int:
    if client is None:
        return 0
    if client not in spec.client_names:
        raise UsageMistake(f"--client {client}: the job has no such client{nearest(client, spec.client_names)}")
    return spec.client_names.index(client)


def _task(view: View, spec: JobSpec, told: Measuring, folder: Path) -> Path:
    code = TaskCode(view.store, told.tasks, accept_code=told.accept_code, cache=folder / "tasks", name="here")
    try:
        return code.path(spec)
    except TaskNotInstalled as error:
        raise CliError(f"{error}. Read it first: `warren job show` names its file in the store.") from None


def _print(job: str, told: Measuring, found: Evaluated, as_json: bool) -> None:
    place = told.client or "held-out"
    if as_json:
        facts = {"job": job, "model": told.which, "on": place, "examples": found.examples, "metrics": found.metrics}
        click.echo(json.dumps(facts))
    else:
        click.echo(f"{job} {told.which}  {metrics_text(found.metrics)}  ({place}, {found.examples} examples)")
