"""The child's side of the training process: work from the pipe, its outcome back. Torch lives here."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from ..storage.job import JobSpec
from .errors import TrainerError, TrainingStopped
from .failures import device_is_lost, failure_of, out_of_memory
from .optimizers import spare_the_compiler
from .runner import Runner, make_deterministic
from .wire import DeviceFacts, Stopped, Told, Work, read_work, write_told, write_wrote


class Orders:
    """Reads the pipe between works, and looks into it at each batch: a stop is known for the price of a look.

    Works that are sent meanwhile wait for their turn.

    The pipe's end means that the trainer is gone: this process goes too, whatever it is doing. A thread waits for
    that alone: if it read the orders as well, each would have to pass from it to the thread that trains.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._look = select.poll()
        self._look.register(connection.fileno(), select.POLLIN)
        self._stopped_through = 0
        self._waiting: deque[dict[str, Any]] = deque()
        self._spec: JobSpec | None = None  # of the last order
        threading.Thread(target=self._watch, name="orders", daemon=True).start()

    def take(self) -> tuple[int, Work]:
        while True:
            if self._waiting:
                message = self._waiting.popleft()
                number = message["number"]
                work = read_work(message["work"], self._spec, partial(self._wrote, number))
                self._spec = work.spec
                return number, work
            self._read()

    def wanted(self, number: int) -> bool:
        while self._look.poll(0):
            self._read()
        return number > self._stopped_through

    def _wrote(self, number: int, size: int, done: int) -> None:
        self._connection.send_bytes(write_wrote(number, size, done))

    def _read(self) -> None:
        try:
            message: dict[str, Any] = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)
        self._stopped_through = max(self._stopped_through, message.get("stop", 0))
        if "work" in message:
            self._waiting.append(message)

    def _watch(self) -> None:
        end = select.poll()
        end.register(self._connection.fileno(), 0)  # for nothing that is sent: what is always told is the end
        end.poll()
        os._exit(0)


def serve(connection: Connection, device: str, data_dir: Path | None, data_loader: Path | None) -> None:
    """Say what this process runs on, then run works until the trainer goes."""
    _set_apart()
    make_deterministic()
    spare_the_compiler()
    try:
        chosen = choose_device(device)
    except TrainerError as error:
        connection.send_bytes(json.dumps({"refused": str(error)}).encode())
        return
    runner = Runner(chosen, data_dir, data_loader)
    facts = _facts(chosen)
    hello = {"device": facts.device, "name": facts.name, "torch": facts.torch}
    connection.send_bytes(json.dumps({"hello": hello}).encode())
    orders = Orders(connection)
    while True:
        number, work = orders.take()
        told, usable = _run(runner, work, partial(orders.wanted, number))
        _flush()
        connection.send_bytes(write_told(number, told, last=not usable))
        if not usable:
            return


def choose_device(wanted: str) -> torch.device:
    """The device for `auto`, `cpu`, `cuda` or `cuda:i`. Raises TrainerError where there is no such one."""
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    kind, _, index = wanted.partition(":")
    if kind not in ("auto", "cuda") or (index and not index.isdigit()):
        raise TrainerError(f"--device {wanted}: expected auto, cpu or cuda:i")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(index or 0) >= count:
        raise TrainerError(f"--device {wanted}: torch {torch.__version__} sees {count} GPUs here")
    return torch.device("cuda", int(index or 0))


def _run(runner: Runner, work: Work, wanted: Callable[[], bool]) -> tuple[Told, bool]:
    """(the outcome, whether this process can go on)."""
    shared = work.spec.errors_shared
    try:
        return runner.run(work, wanted), True
    except TrainingStopped:
        return Stopped(), True
    except BaseException as error:  # a task may raise anything, SystemExit too
        told = failure_of(error, shared=shared)
        memory, lost = out_of_memory(error), device_is_lost(error)
    if memory:
        runner.forget()  # here, where the traceback no longer holds the tensors
    return told, memory or not lost


def _facts(device: torch.device) -> DeviceFacts:
    name = "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)
    return DeviceFacts(str(device), name, str(torch.__version__))


def _set_apart() -> None:
    """Signals are the trainer's to act on, and standard output is its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.dup2(2, 1)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
