"""An embedded run from its first line to its last: store the job, lead it here, show it, say what came of it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from ..storage.errors import StorageUnavailable
from ..storage.folder import FolderStore
from .connect import View
from .embedded import Embedded, logged_to
from .errors import INTERRUPTED, UsageMistake
from .follow import exit_code, follow
from .jobs import command_job, find_job, remember
from .outcome import print_outcome
from .room_watch import formula
from .screens import Screen, open_screen
from .status import StatusReader
from .submission import resolve_words, store_job

PERIOD_SECONDS = 0.2
TRAINERS_MAX = 4  # where nobody said: each takes a core and some 300 MB


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What `warren run` was told beside the job."""

    store: Path
    trainers: int | None
    device: str
    data_dir: Path | None
    as_json: bool

    @property
    def processes(self) -> int:
        """How many training processes to start."""
        return self.trainers or max(1, min(TRAINERS_MAX, len(os.sched_getaffinity(0))))

    def resuming(self, job: str) -> str:
        """The line that goes on with the job."""
        options = "" if self.trainers is None else f" --trainers {self.trainers}"
        options += "" if self.data_dir is None else f" --data-dir {self.data_dir}"
        options += "" if self.device == "auto" else f" --device {self.device}"
        return f"{warren_here()} run --resume {job} --store {self.store}{options}"


def warren_here() -> str:
    """`warren`, or the path it was called by where the shell finds none or another: `make demo` activates nothing."""
    called, found = Path(sys.argv[0]), shutil.which("warren")
    if called.name != "warren" or (found and Path(found).resolve() == called.resolve()):
        return "warren"
    return shlex.quote(str(called))


def run_job(job: str, settings: Sequence[str], params: Sequence[str], told: RunOptions) -> int:
    """Run a new job. Returns the exit code. Raises SpecInvalid, StorageError."""
    spec, task = resolve_words(job, settings, params, told.data_dir)
    store_job(FolderStore(told.store), spec, task)
    if not told.as_json:
        click.echo(f"{spec.job} {formula(spec)}")
    return _lead(spec.job, told)


def resume_job(text: str, told: RunOptions) -> int:
    """Go on with a job of the folder; one that is paused is resumed. Returns the exit code."""
    if not told.store.is_dir():
        raise UsageMistake(f"no folder {told.store}. Name the folder of the run with --store.")
    view = _view(told)
    job = find_job(view, text)
    status = StatusReader(view.store, job).read()
    if status.state == "done":
        print_outcome(view.store, status, as_json=told.as_json)
        return exit_code(status)
    if status.state != "unfinished":
        command_job(view, job, "resume")
    return _lead(job, told)


def _view(told: RunOptions) -> View:
    return View(FolderStore(told.store), place=str(told.store.resolve()))


def _lead(job: str, told: RunOptions) -> int:
    remember(str(told.store.resolve()), job)
    log = told.store / "logs" / f"{job}.log"
    screen = open_screen(told.as_json)
    try:
        with logged_to(log), _terminated_as_interrupted():
            return _follow(job, told, screen)
    except KeyboardInterrupt:
        screen.close()
        click.echo(f"\nStopped; nothing committed is lost. To go on:\n  {told.resuming(job)}", err=True)
        return INTERRUPTED
    except OSError as error:
        raise StorageUnavailable(f"{told.store}: {error.strerror or error}") from error
    finally:
        screen.close()


def _follow(job: str, told: RunOptions, screen: Screen) -> int:
    spec = StatusReader(FolderStore(told.store), job).spec
    embedded = Embedded(told.store, spec, trainers=told.processes, device=told.device, data_dir=told.data_dir)
    with embedded:
        reader = StatusReader(embedded.store, job, embedded.ledger, services=False, room=True)
        status = follow(reader, screen, period_seconds=PERIOD_SECONDS, stop_at_pause=True, checked=embedded.check)
    screen.show(reader.read())
    screen.close()
    print_outcome(embedded.store, status, as_json=told.as_json)
    if status.state == "paused":
        click.echo(f"To go on:\n  {told.resuming(job)}", err=True)
    return exit_code(status)


class _terminated_as_interrupted:
    """SIGTERM stops a run as Ctrl-C does."""

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGTERM, _interrupt)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)


def _interrupt(_: int, __: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
