"""Runs one batch of a task here: what the model, the data and a step look like, or which line is at fault."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ..storage.errors import SpecInvalid
from ..storage.job import JobSpec
from ..trainer.errors import TaskError, TrainerError
from .errors import CliError
from .submission import resolve_words
from .tables import size_text
from .task_source import TaskSource


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What `warren check` was told."""

    index: int
    device: str
    data_dir: Path | None
    plot: Path | None
    as_json: bool


class TaskAtFault(CliError):
    """The task's own code does not do what it should; the words name its line."""


def check_job(job: str, settings: Sequence[str], params: Sequence[str], told: CheckOptions) -> int:
    """Check a job's task and print what was seen. Returns the exit code.

    Raises:
        SpecInvalid: the job itself has a mistake.
        TaskAtFault: the task has one.
    """
    spec, task = resolve_words(job, settings, params, told.data_dir)
    if told.index >= len(spec.client_names):
        raise SpecInvalid(f"--client {told.index}: the job has {len(spec.client_names)} clients, from 0.")
    from .trial import Trial

    with _blamed(task), contextlib.redirect_stdout(sys.stderr):  # what the task prints is no output of ours
        trial = Trial(spec, task, told.device, told.data_dir)
        seen = trial.run(told.index)
        picture = trial.plot() if told.plot is not None else None
    if told.plot is not None and picture is not None:
        _write(told.plot, picture)
    if told.as_json:
        click.echo(json.dumps({**seen, "plot": str(told.plot) if told.plot else None}, ensure_ascii=False))
        return 0
    for name, words in _lines(spec, task, seen):
        click.echo(f"{name:<10} {words}")
    if told.plot is not None:
        click.echo(f"{'plot':<10} {told.plot}")
    return 0


@contextlib.contextmanager
def _blamed(task: TaskSource) -> Iterator[None]:
    """Turns whatever the task raises into the line that did."""
    from ..trainer.failures import out_of_memory
    from ..trainer.task import place_of

    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a task may raise anything, SystemExit too
        file, number = place_of(error)
        if isinstance(error, TrainerError) and not isinstance(error, TaskError):
            raise
        if isinstance(error, TaskError):
            words = Exception.__str__(error)
        else:
            words = "out of memory" if out_of_memory(error) else f"{type(error).__name__}: {error}".rstrip(": ")
        place = f"{file or task.file} line {number}: " if number else f"{file or task.file}: "
        line = _source(task, number)
        raise TaskAtFault(place + " ".join(words.split())[:2000] + (f"\n{line}" if line else "")) from error


def _source(task: TaskSource, number: int) -> str:
    lines = task.body.decode("utf-8-sig", "replace").splitlines()
    return f"{number:>5} | {lines[number - 1].strip()}" if 0 < number <= len(lines) else ""


def _write(path: Path, image: bytes) -> None:
    try:
        path.write_bytes(image)
    except OSError as error:
        raise CliError(f"can't write {path}: {error.strerror}.") from None


def _lines(spec: JobSpec, task: TaskSource, seen: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What was seen, for people."""
    yield "task", f"{task.file}, on {seen['device']}"
    trained = "" if seen["trained"] == seen["parameters"] else f", {seen['trained']:,} of them trained"
    yield "model", f"{seen['parameters']:,} parameters in {seen['tensors']} tensors{trained}"
    validation = f" and {seen['validation']} for validation" if seen["validation"] else ""
    yield "data", f"client {seen['client']}: {seen['examples']} examples to train on{validation}"
    yield "batch", f"inputs {seen['inputs']}, targets {seen['targets']} -> outputs {seen['outputs']}"
    if seen["held_out"] is None:
        yield "held-out", "no test_data(): checkpoints are measured on validation shares only"
    else:
        yield "held-out", f"{seen['held_out']} examples"
    yield "loss", _loss(seen)
    if seen["metrics"]:
        yield "metrics", "  ".join(f"{name} {value:.4g}" for name, value in sorted(seen["metrics"].items()))
    steps, whole = seen["steps_a_round"], seen["seconds_a_step"] * seen["steps_a_round"]
    yield "time", f"{_span(seen['seconds_a_step'])} a step; a round of this client has {steps}: {_span(whole)}"
    whole_round = size_text(spec.asked * seen["update_bytes"])
    yield (
        "update",
        (
            f"{size_text(seen['update_bytes'])} ({spec.update}); a round of {spec.asked} clients: "
            f"{whole_round} up, as much down"
        ),
    )


def _loss(seen: dict[str, Any]) -> str:
    first, after = seen["loss_before"], seen["loss_after"]
    text = f"{first:.4g} on this batch"
    if after is None:
        return text
    worse = "" if after < first else "; it grew: a lower train.lr may be needed"
    return f"{text}, {after:.4g} after one step{worse}"


def _span(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds / 60:.3g} min"
