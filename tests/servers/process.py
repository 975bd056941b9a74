"""A private server of the tests: started, killed, restarted with or without its data, ended by pid."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from .guard import Guard

PORTS = range(20_000, 32_000)  # below Linux's ephemeral ports: a reconnecting client can't take a dead server's
READY_SECONDS = 120.0
STOP_SECONDS = 30.0
LOG_TAIL_LINES = 30
LOOPBACK = "127.0.0.1"


class ServerFailed(Exception):
    """A server did not start or stop in time; the words end with the tail of its log."""


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    for port in random.SystemRandom().sample(PORTS, 200):
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise ServerFailed(f"no free port between {PORTS.start} and {PORTS.stop}")


def await_condition(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Ask until the condition holds.

    Raises:
        ServerFailed: it does not hold after so many seconds.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise ServerFailed(f"{what}: not after {seconds:g} s")
        time.sleep(0.05)


def first_bytes(port: int, greeting: bytes, seconds: float = 1.0) -> bytes:
    """What a server of the loopback answers to a greeting; empty where nothing does."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=seconds) as connection:
            connection.sendall(greeting)
            return connection.recv(64)
    except OSError:
        return b""


class Server:
    """One server with its folder: `data` holds what outlives a restart, `log` what it printed.

    Subclasses give the command, its environment, and how to see that it is ready. Where `container` is set,
    the command runs `docker run` in the foreground and signals go to the container of that name.
    """

    name = "server"
    container: str | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: Guard | None = None

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return os.environ

    def ready(self) -> bool:
        raise NotImplementedError

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start on what `data` holds, and return when it answers.

        Raises:
            ServerFailed: it ended, or does not answer in READY_SECONDS.
        """
        assert not self.running, f"{self.name} is already running"
        self._dismiss_guard()  # of a server that ended by itself
        self.data.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                list(self.command()),
                env=dict(self.environment()),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._guard = Guard(self._process.pid, self.container)
        try:
            await_condition(lambda: not self.running or self.ready(), READY_SECONDS, f"{self.name} answers")
        except ServerFailed as error:
            self.kill()
            raise ServerFailed(f"{error}\n{self.log_tail()}") from None
        if (code := self._process.poll()) is not None:
            self.kill()
            raise ServerFailed(f"{self.name} ended with {code}\n{self.log_tail()}")

    def ensure(self) -> None:
        """Start it if it is not running."""
        if not self.running:
            self.start()

    def kill(self) -> None:
        """SIGKILL all of it, as a power cut would end it, and wait until it is gone."""
        self._stop(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM: let it end in order, and wait until it is gone; SIGKILL after STOP_SECONDS."""
        self._stop(signal.SIGTERM)

    def restart(self) -> None:
        """Start it again on its data, ending it in order first where it still runs."""
        self.terminate()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing."""
        self._signal(self._family(), signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(self._family(), signal.SIGCONT)

    def wipe(self) -> None:
        """Forget all data; the server must not run."""
        assert not self.running, f"stop {self.name} before wiping it"
        if self.container:
            subprocess.run(
                ["docker", "volume", "rm", "-f", self.container], capture_output=True, timeout=60, check=False
            )
        shutil.rmtree(self.data, ignore_errors=True)

    def log_tail(self) -> str:
        if not self.log.exists():
            return "(no log)"
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "\n".join(f"  {self.name} | {line}" for line in lines)

    def _stop(self, how: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        self._dismiss_guard()
        family = self._family()
        self._signal(family if how is signal.SIGKILL else family[:1], how)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(family, signal.SIGKILL)
            process.wait(STOP_SECONDS)
        await_condition(lambda: not any(map(_lives, family)), STOP_SECONDS, f"{self.name} is gone")
        self._process = None

    def _dismiss_guard(self) -> None:
        if self._guard is not None:
            self._guard.dismiss()
            self._guard = None

    def _family(self) -> list[psutil.Process]:
        """The process that we started, then its descendants: RabbitMQ runs under two shells."""
        if not self.running:
            return []
        assert self._process is not None
        leader = psutil.Process(self._process.pid)
        return [leader, *leader.children(recursive=True)]

    def _signal(self, family: Sequence[psutil.Process], how: signal.Signals) -> None:
        if self.container and family:
            subprocess.run(
                ["docker", "kill", "-s", how.name, self.container],
                capture_output=True,
                timeout=60,
                check=False,
            )
            return
        for member in family:
            try:
                member.send_signal(how)
            except psutil.NoSuchProcess:
                continue


def _lives(process: psutil.Process) -> bool:
    # In a container whose first process reaps nobody, orphans stay zombies for ever: they count as gone.
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
