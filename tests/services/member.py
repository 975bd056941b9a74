"""One service of a fleet: a real process behind proxies of its own, to be killed, stopped and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

import psutil
from servers.guard import Guard
from servers.process import LOOPBACK
from servers.proxy import FaultProxy
from services.gate import StoreGate

WARREN = Path(sys.executable).with_name("warren")
HEARTBEAT_SECONDS = 5  # RabbitMQ gives a silent connection up after twice that
LOG_TAIL_LINES = 25
END_SECONDS = 30.0

Kind = Literal["trainer", "aggregator"]


class Member:
    """A trainer or an aggregator. Each start is a process of another name: its presence tells it apart."""

    def __init__(self, kind: Kind, name: str, folder: Path, addresses: Mapping[str, str], options: Sequence[str]):
        """Not yet started.

        Args:
            kind: what to start.
            name: of the member; its processes are `<name>-1`, `<name>-2`, ...
            folder: for its log and its scratch files.
            addresses: the environment that names the servers themselves.
            options: further ones of `warren <kind> start`.
        """
        self.kind = kind
        self.name = name
        self.starts = 0
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: Guard | None = None  # ends it when the tests are killed
        self._family: list[psutil.Process] = []
        self._stack = contextlib.ExitStack()
        self.gate = self._stack.enter_context(StoreGate(_port(addresses["WARREN_S3"])))
        self.amqp = self._stack.enter_context(FaultProxy(_port(addresses["WARREN_AMQP"])))
        self.redis = self._stack.enter_context(FaultProxy(_port(addresses["WARREN_REDIS"])))
        amqp = _through(addresses["WARREN_AMQP"], self.amqp.port) + f"?heartbeat={HEARTBEAT_SECONDS}"
        redis = _through(addresses["WARREN_REDIS"], self.redis.port)
        self._environment = {**addresses, "WARREN_AMQP": amqp, "WARREN_REDIS": redis, "WARREN_S3": self.gate.url}

    @property
    def id(self) -> str:
        """The name of the process that runs now, or ran last."""
        return f"{self.name}-{self.starts}"

    @property
    def log(self) -> Path:
        return self._folder / f"{self.name}.log"

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the process; it answers when its presence is there."""
        assert not self.alive, f"{self.id} runs"
        self._dismiss_guard()  # of a process that ended by itself
        self.starts += 1
        command = [str(WARREN), self.kind, "start", "--name", self.id, *self._options]
        self._folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            log.write(f"--- {self.id}\n".encode())
            log.flush()
            self._process = subprocess.Popen(
                command,
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._guard = Guard(self._process.pid)

    def kill(self) -> None:
        """SIGKILL the process, and it alone: what it started must go by itself."""
        assert self._process is not None
        self._family = self.family()
        self._dismiss_guard()
        self._process.kill()
        self._process.wait(END_SECONDS)

    def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        assert self._process is not None
        self._family = self.family()
        self._dismiss_guard()
        self._process.terminate()
        return self._process.wait(END_SECONDS)

    def sleep(self) -> None:
        """SIGSTOP all of it, as a laptop's lid does."""
        for process in self.family():
            process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        for process in reversed(self.family()):
            process.send_signal(signal.SIGCONT)

    def family(self) -> list[psutil.Process]:
        """The process, and those that it started."""
        if not self.alive:
            return []
        leader = psutil.Process(self.pid)
        return [leader, *leader.children(recursive=True)]

    def orphans(self) -> list[int]:
        """Processes that outlive the one that started them."""
        return [p.pid for p in self._family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE and not self.alive]

    def close(self) -> None:
        """End everything, at once."""
        self._dismiss_guard()
        for process in [*self.family(), *self._family]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if self._process is not None:
            self._process.wait(END_SECONDS)
        self._stack.close()

    def _dismiss_guard(self) -> None:
        if self._guard is not None:
            self._guard.dismiss()
            self._guard = None

    def log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:] if self.log.exists() else []
        return "\n".join(f"  {self.id} | {line}" for line in lines)


def environment(amqp: str, redis: str, s3: str, bucket: str, access: str, secret: str, home: Path) -> dict[str, str]:
    """What a `warren` command needs to know, and nothing of the machine's own settings."""
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("WARREN_", "PYTHON", "PYTEST"))}
    return outside | {
        "WARREN_AMQP": amqp,
        "WARREN_REDIS": redis,
        "WARREN_S3": s3,
        "WARREN_S3_BUCKET": bucket,
        "WARREN_S3_ACCESS_KEY": access,
        "WARREN_S3_SECRET_KEY": secret,
        "WARREN_CONFIG": str(home / "contexts.toml"),
        "XDG_STATE_HOME": str(home / "state"),
    }


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None, "a server of the tests has a port"
    return port


def _through(url: str, port: int) -> str:
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{user}@{LOOPBACK}:{port}" if user else f"{LOOPBACK}:{port}"))
