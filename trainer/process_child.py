"""The child's side of the training process: work from the pipe, its outcome back. Torch lives here."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from .errors import TrainerError, TrainingStopped
from .failures import device_is_lost, failure_of, out_of_memory
from .optimizers import spare_the_compiler
from .runner import Runner, make_deterministic
from .wire import DeviceFacts, Stopped, Told, Work, read_work, write_told


class Orders:
    """Reads the pipe in a thread of its own: a stop is known at the next batch, for the price of a look.

    The pipe's end means that the trainer is gone: this process goes too, whatever it is doing.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: queue.SimpleQueue[tuple[int, Work]] = queue.SimpleQueue()
        self._stopped_through = 0
        threading.Thread(target=self._listen, name="orders", daemon=True).start()

    def take(self) -> tuple[int, Work]:
        return self._waiting.get()

    def wanted(self, number: int) -> bool:
        return number > self._stopped_through

    def _listen(self) -> None:
        try:
            while True:
                message = json.loads(self._connection.recv_bytes())
                if "work" in message:
                    self._waiting.put((message["number"], read_work(message["work"])))
                else:
                    self._stopped_through = max(self._stopped_through, message["stop"])
        except (EOFError, OSError):
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
