"""Tells trackers (TensorBoard, MLflow, W&B) of the jobs that are led here. Off the rounds' path: harms no job.

Each tracker of a job has a thread here, which reads the store's documents, and a process (`tracker_main`), which
holds the package. Nothing waits for either but the end of the aggregator, and that not for long. All that is told
follows from the store, so a tracker that failed, or another aggregator, begins again from the first round.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..storage.errors import StorageError
from ..storage.job import JobSpec
from ..storage.objects import ObjectStore
from ..storage.ports import Ledger
from .record import ENDS, Record
from .tracked import Rows, settings_of
from .tracker_main import USELESS

LOOK_SECONDS = 2.0  # between two looks for new documents
FINISH_SECONDS = 30.0  # for a tracker to send what it has, when its job has ended
LEAVE_SECONDS = 5.0  # where the job goes on elsewhere, or later
RETRY_SECONDS = (5.0, 30.0, 120.0, 600.0)  # after a failure; the last one again and again

log = logging.getLogger("warren.aggregator")


class Tracking:
    """The trackers of all jobs led here."""

    def __init__(self, store: ObjectStore, ledger: Ledger, folder: Path | None) -> None:
        """Prepare.

        Args:
            store: read from, by threads of its own.
            ledger: warnings stand in the job's progress there.
            folder: where trackers keep files; None: those that need one say so.
        """
        self._store = store
        self._ledger = ledger
        self._folder = folder
        self._followers: list[Follower] = []

    @contextmanager
    def of(self, spec: JobSpec) -> Iterator[None]:
        """While this job is led."""
        begun = [Follower(self._store, spec, name, self._folder, self._warn) for name in spec.track.to]
        self._followers = [one for one in self._followers if one.is_alive()] + begun
        for follower in begun:
            follower.start()
        try:
            yield
        finally:
            for follower in begun:
                follower.over.set()

    def close(self) -> None:
        """Wait for those that have a last thing to send, for a bounded time."""
        for follower in self._followers:
            follower.over.set()
        for follower in self._followers:
            follower.join(FINISH_SECONDS + LEAVE_SECONDS)
            follower.kill()

    def _warn(self, spec: JobSpec, tracker: str, words: str) -> None:
        if words:
            log.warning("tracker %s: %s", tracker, words, extra={"job": spec.job})
        with suppress(StorageError):
            self._ledger.set_progress(spec.job, {f"tracker.{tracker}": words})


class Follower(threading.Thread):
    """Tells one tracker of one job."""

    def __init__(
        self,
        store: ObjectStore,
        spec: JobSpec,
        tracker: str,
        folder: Path | None,
        warn: Callable[[JobSpec, str, str], None],
    ) -> None:
        super().__init__(name=f"warren-tracks-{spec.job}-{tracker}", daemon=True)
        self.over = threading.Event()  # the job is not led here any more: tell the last, and end
        self._store = store
        self._spec = spec
        self._tracker = tracker
        self._folder = folder
        self._warn = warn
        self._process: subprocess.Popen[str] | None = None

    def run(self) -> None:
        """Until the job is over and told; a tracker that fails is tried again, later and later."""
        failures = 0
        while (told := self._tell()) is None or told[0] not in (0, USELESS):
            words = "can't be started" if told is None else told[1]
            self._warn(self._spec, self._tracker, words)
            if self.over.wait(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]):
                return
            failures += 1
        if told[0] or failures:
            self._warn(self._spec, self._tracker, told[1])

    def kill(self) -> None:
        """End its process, if there is one."""
        if self._process is not None and self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _tell(self) -> tuple[int, str] | None:
        """Tell all from the first round on, until there is no more: the process's exit code and last words."""
        try:
            process = self._process = self._start()
        except OSError:
            return None
        with suppress(BrokenPipeError):  # it ended; its last words say why
            self._feed(process)
        return self._finish(process)

    def _start(self) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", f"{__package__}.tracker_main", self._tracker]
        words += [] if self._folder is None else [str(self._folder)]
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("WARREN_")
        }  # no secrets of ours
        return subprocess.Popen(
            words,
            env=kept,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us: we end it when it has sent all
        )

    def _feed(self, process: subprocess.Popen[str]) -> None:
        _send(
            process,
            {"job": self._spec.job, "experiment": self._spec.track.experiment, "settings": settings_of(self._spec)},
        )
        rows, last = Rows(self._store, self._spec), False
        while not last:
            last = self.over.wait(LOOK_SECONDS)
            if process.poll() is not None:
                return
            try:
                for row in rows.new():
                    _send(process, row)
            except StorageError:
                continue  # looked at again; at the end, what is missing is told the next time
        _send(process, {"end": self._end()})

    def _end(self) -> str:
        """How the job ended; empty where it did not."""
        try:
            command = Record(self._store, self._spec.job).control().command
        except StorageError:
            return ""
        return command if command in ENDS else ""

    def _finish(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        patience = FINISH_SECONDS if self._end() else LEAVE_SECONDS
        try:
            said, _ = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            self.kill()
            process.communicate()
            return USELESS, f"did not finish in {patience:g} s, and was stopped"
        return process.returncode, said.strip() or f"ended with {process.returncode}" if process.returncode else ""


def _send(process: subprocess.Popen[str], row: object) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(row) + "\n")
    process.stdin.flush()
