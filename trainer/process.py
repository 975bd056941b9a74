"""The trainer's side of the training process: start, hand work, stop, start again. Imports no torch."""

from __future__ import annotations

import atexit
import contextlib
import json
import multiprocessing
import os
import select
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from ..storage.job import JobSpec, write_spec
from .errors import TrainerError
from .wire import (
    Crashed,
    DeviceFacts,
    Evaluated,
    Outcome,
    Stopped,
    TaskFailed,
    Trained,
    Work,
    read_answer,
    read_told,
    write_work,
)

__all__ = [
    "Crashed",
    "DeviceFacts",
    "DeviceRefused",
    "Evaluated",
    "Outcome",
    "Stopped",
    "TaskFailed",
    "Trained",
    "TrainingProcess",
    "Work",
]

LOOK_SECONDS = 0.5  # how often the caller is asked whether the work is still wanted
START_SECONDS = 300.0  # importing torch from a cold disk takes a minute
STOP_SECONDS = 30.0  # for the batch at hand; then the process is killed
CLOSE_SECONDS = 5.0
ANSWER_BYTES_MAX = 2 << 20


class DeviceRefused(TrainerError):
    """The device that the trainer was started with is not there: a person must mend it."""


class _Child:
    def __init__(self, process: BaseProcess, connection: Connection) -> None:
        self.process, self.connection = process, connection
        self.facts: DeviceFacts | None = None
        self.begun: deque[tuple[int, Work]] = deque()  # orders that were sent and not waited for yet
        self._spec: JobSpec | None = None  # of the last order
        self._pipe = connection.fileno()
        self._watch, self._end = select.poll(), select.poll()  # multiprocessing's `wait` and `is_alive` make new ones
        self._watch.register(self._pipe, select.POLLIN)
        for watch in (self._watch, self._end):
            watch.register(process.sentinel, select.POLLIN)

    def next_message(self, seconds: float) -> dict[str, Any] | None:
        """The next answer, or None after so long. Raises EOFError when the process is gone."""
        ready = {file for file, _ in self._watch.poll(1000 * seconds)}
        if self._pipe in ready or (ready and self.connection.poll(0)):
            return read_answer(self.connection.recv_bytes(ANSWER_BYTES_MAX))
        if ready:
            raise EOFError
        return None

    def send(self, number: int, work: Work) -> None:
        """Send an order, with the spec's text where the one before had another: works of a round share one spec."""
        known, self._spec = self._spec is work.spec, work.spec
        self.connection.send_bytes(write_work(number, work, "" if known else write_spec(work.spec).decode()))
        self.begun.append((number, work))

    def number_of(self, work: Work) -> int | None:
        """The order that is to be answered next, where it is of this work. None is left begun that is of another."""
        if self.begun and self.begun[0][1] is work:
            return self.begun.popleft()[0]
        if self.begun:
            self.stop(self.begun[-1][0])
            self.begun.clear()
        return None

    def stop(self, number: int) -> None:
        """Let this work and those before it end."""
        self.connection.send_bytes(json.dumps({"stop": number}).encode())

    def alive(self) -> bool:
        return not self._end.poll(0)


class TrainingProcess:
    """A process of its own for training: started at the first use, kept, started again after it died.

    One thread at a time may run work; `close` may come from any.

    Args:
        device: auto, cpu, cuda or cuda:i.
        data_dir: what tasks are given as `client.data_dir`.
        data_loader: a file whose `data(client)` is asked in place of the task's.
    """

    def __init__(self, device: str, data_dir: Path | None, data_loader: Path | None = None) -> None:
        self._arguments = (device, data_dir, data_loader)
        self._child: _Child | None = None
        self._number = 0
        self._closed = False
        _close_at_exit(self)

    @property
    def pid(self) -> int | None:
        """The process that trains, while there is one."""
        return self._child.process.pid if self._child is not None else None

    def facts(self) -> DeviceFacts:
        """What it runs on; starts the process if there is none.

        Raises:
            DeviceRefused: there is no such device.
            TrainerError: the process can't be started.
        """
        facts = self._start(lambda: True)
        if not isinstance(facts, DeviceFacts):
            raise TrainerError(f"the training process did not start: {facts}")
        return facts

    def run(self, work: Work, keep_going: Callable[[], bool]) -> Outcome:
        """Run one work to its outcome; blocks. Asks `keep_going` about every half second.

        Raises:
            DeviceRefused: there is no such device.
        """
        facts = self._start(keep_going)
        if not isinstance(facts, DeviceFacts):
            return facts
        child = self._child
        if child is None:  # closed meanwhile
            return Stopped()
        try:
            number = child.number_of(work)
            if number is None:
                self._send(child, work)
                number = child.begun.popleft()[0]
            return self._await(child, number, work.wrote, keep_going)
        except (OSError, EOFError):
            return self._buried(child)
        except BaseException:
            self._kill(child)  # whoever interrupts the wait must not leave training behind
            raise

    def begin(self, work: Work) -> None:
        """Hand over a work that `run` will be called with, after those handed over before.

        The process goes on with it as soon as it answered the one before. Nothing happens where none runs now.
        """
        child = self._child
        if child is None or child.facts is None or any(work is begun for _, begun in child.begun):
            return
        with contextlib.suppress(OSError):  # it died: `run` will see
            self._send(child, work)

    def _send(self, child: _Child, work: Work) -> None:
        self._number += 1
        child.send(self._number, work)

    def close(self) -> None:
        """End the process. A work in progress ends as stopped; the next `run` does so at once."""
        self._closed = True
        if self._child is not None:
            self._kill(self._child)

    def _start(self, keep_going: Callable[[], bool]) -> DeviceFacts | Stopped | Crashed:
        if self._closed:
            return Stopped()
        child = self._child
        if child is not None and child.facts is not None and child.alive():
            return child.facts
        if child is not None:
            self._kill(child)
        child = self._child = _launch(self._arguments)
        return self._await_hello(child, keep_going)

    def _await_hello(self, child: _Child, keep_going: Callable[[], bool]) -> DeviceFacts | Stopped | Crashed:
        until = time.monotonic() + START_SECONDS
        try:
            while time.monotonic() < until:
                message = child.next_message(LOOK_SECONDS)
                if message is not None and "hello" in message:
                    child.facts = DeviceFacts(**message["hello"])
                    return child.facts
                if message is not None:
                    self._kill(child)
                    raise DeviceRefused(str(message.get("refused", "no device")))
                if not keep_going():
                    self._kill(child)
                    return Stopped()
        except (OSError, EOFError):
            return self._buried(child)
        self._kill(child)
        return Crashed(f"the training process said nothing for {START_SECONDS:.0f} s after its start")

    def _await(
        self, child: _Child, number: int, wrote: Callable[[int, int], None] | None, keep_going: Callable[[], bool]
    ) -> Outcome:
        stop_by: float | None = None
        while True:
            message = child.next_message(LOOK_SECONDS)
            if message is not None and message.get("number") == number:
                if "wrote" in message:
                    if wrote is not None:
                        wrote(*message["wrote"])
                    continue
                if message["last"]:
                    self._kill(child)
                return read_told(message)
            if stop_by is None and not keep_going():
                child.stop(number)
                stop_by = time.monotonic() + STOP_SECONDS
            if stop_by is not None and time.monotonic() > stop_by:
                self._kill(child)
                return Stopped()

    def _buried(self, child: _Child) -> Crashed | Stopped:
        """The process is gone: say how it went."""
        with contextlib.suppress(AssertionError):
            child.process.join(CLOSE_SECONDS)
        code = child.process.exitcode
        self._kill(child)
        if self._closed:
            return Stopped()
        if code is not None and code < 0:
            hint = " (by the kernel, if memory ran out)" if code == -9 else ""
            return Crashed(f"killed by signal {-code}{hint}")
        return Crashed("lost its pipe" if code is None else f"exited with code {code}")

    def _kill(self, child: _Child) -> None:
        if self._child is child:
            self._child = None
        with contextlib.suppress(OSError):
            child.connection.close()  # its end: the process goes by itself
        with contextlib.suppress(OSError, AttributeError, AssertionError):
            child.process.kill()
            child.process.join(CLOSE_SECONDS)


def _launch(arguments: tuple[str, Path | None, Path | None]) -> _Child:
    """From a fork server that has torch loaded once for all; a fresh one where forking is unsafe."""
    linux = sys.platform == "linux"
    context = multiprocessing.get_context("forkserver" if linux else "spawn")
    if linux:
        context.set_forkserver_preload([f"{__package__}.process_preload"])
    ours, theirs = context.Pipe()
    process = context.Process(target=_child_main, args=(theirs, *arguments), name="training")  # type: ignore[attr-defined]
    process.start()
    theirs.close()
    return _Child(process, ours)


def _child_main(connection: Connection, device: str, data_dir: Path | None, data_loader: Path | None) -> None:
    from .process_child import serve  # here, as it imports torch

    with contextlib.suppress(BrokenPipeError):  # the trainer went while this worked: nobody waits for the answer
        serve(connection, device, data_dir, data_loader)
    os._exit(0)  # some libraries complain of leaks when a process that used them ends in order


def _close_at_exit(training: TrainingProcess) -> None:
    """Python waits at its end for processes that were started: this one must be gone by then."""
    known = weakref.ref(training)

    def close() -> None:
        alive = known()
        if alive is not None:
            alive.close()

    atexit.register(close)
    weakref.finalize(training, atexit.unregister, close).atexit = False  # at exit it would come too early
