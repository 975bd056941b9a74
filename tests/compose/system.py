"""The compose file brought up as a project of the tests' own, on ports of its own; all of it ended afterwards."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
from compose.images import Images
from servers.process import free_port

ROOT = Path(__file__).parents[2]
PORTS = ("AMQP", "RABBITMQ_CONSOLE", "REDIS", "S3", "MINIO_CONSOLE", "PROMETHEUS", "EDGE")
SERVERS = ("rabbitmq", "redis", "minio")
SERVICES = ("aggregator", "trainer")
COMMAND_SECONDS = 240.0
BUILD_SECONDS = 1800.0
LOOK_SECONDS = 0.25
ERASE = "\x1b[2K"  # compose 2.26 begins lines with it, also where there is no terminal
BRIDGE_NAME = "com.docker.network.bridge.name"  # the engine's option: which interface is its own network's
DOMAIN = "warren.example"  # of the edge


class System:
    """One installation. A context manager."""

    def __init__(
        self,
        tasks: Path,
        files: tuple[str, ...] = ("docker-compose.yml",),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.project = f"warren-test-{secrets.token_hex(3)}"
        self.ports = _ports()
        self._files = files
        self.environment = {
            **os.environ,
            "WARREN_IMAGE": os.environ.get("WARREN_IMAGE", "warren:tests"),
            "WARREN_TASKS_FOLDER": str(tasks),
            **{f"WARREN_{name}_PORT": str(port) for name, port in self.ports.items()},
            **(settings or {}),
        }
        images = Images(self.environment)
        self.environment |= images.use(self.compose("config", "--images").split())
        self.stood_in = images.stood_in

    def __enter__(self) -> System:
        self.compose("build", "--quiet", "credentials", seconds=BUILD_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5")

    def compose(self, *words: str, code: int | None = 0, seconds: float = COMMAND_SECONDS) -> str:
        """Run `docker compose` on this project; what it printed to stdout."""
        files = [part for file in self._files for part in ("-f", file)]
        done = subprocess.run(
            ["docker", "compose", *files, "-p", self.project, *words],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert code is None or done.returncode == code, (
            f"{shlex.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def up(self, *words: str) -> float:
        """`up -d`, until every service is healthy: how long that took."""
        start = time.monotonic()
        self.compose("up", "--detach", *words)
        self.until(self.healthy, "all services are healthy")
        return time.monotonic() - start

    def cli(self, *words: str, service: str = "cli", code: int | None = 0) -> str:
        return self.compose("run", "--rm", "-T", service, *words, code=code)

    def submit(self, *words: str) -> str:
        """Submit a job; its id."""
        return self.cli("submit", *words).splitlines()[0].strip()

    def job(self, job: str) -> dict[str, object]:
        found = [json.loads(line) for line in self.cli("job", "list", "--json").splitlines()]
        return next(one for one in found if one["job"] == job)

    def containers(self, service: str) -> list[dict[str, str]]:
        lines = self.compose("ps", "--all", "--format", "json", service).splitlines()
        return [json.loads(line) for line in lines if line.strip()]

    def healthy(self) -> bool:
        return all(
            (found := self.containers(service)) and all(one["Health"] == "healthy" for one in found)
            for service in (*SERVERS, *SERVICES)
        )

    def execute(self, service: str, *words: str, code: int | None = 0) -> str:
        return self.compose("exec", "-T", service, *words, code=code)

    def kill(self, service: str) -> None:
        """SIGKILL the service's first container from outside."""
        docker("kill", self.containers(service)[0]["Name"])

    def logins(self, service: str = "cli") -> dict[str, tuple[str, str]]:
        """(user, password) of each console."""
        rows = [line.split() for line in self.cli("credentials", service=service).splitlines()[1:]]
        return {row[0]: (row[2], row[3]) for row in rows}

    def until(self, condition: Callable[[], bool], what: str, seconds: float = 180.0) -> float:
        start = time.monotonic()
        while not condition():
            assert time.monotonic() - start < seconds, f"not after {seconds:g} s: {what}\n{self.tails()}"
            time.sleep(LOOK_SECONDS)
        return time.monotonic() - start

    def tails(self) -> str:
        return self.compose("ps", "--all", code=None) + self.compose("logs", "--tail", "15", code=None)


def read_log(shown: str) -> list[dict[str, Any]]:
    """The records among the lines that `docker compose logs` shows of a service of ours."""
    return [json.loads(line.replace(ERASE, "")) for line in shown.splitlines() if '"logger"' in line]


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def bridge() -> str:
    """This machine as its containers see it, and nobody else does: its address on the engine's own network."""
    # The network's "Gateway" is left out by an engine that has started for the first time (moby issue 26799).
    name = docker("network", "inspect", "bridge", "--format", f'{{{{index .Options "{BRIDGE_NAME}"}}}}').strip()
    return next(one.address for one in psutil.net_if_addrs()[name] if one.family == socket.AF_INET)


def _ports() -> dict[str, int]:
    """A port for each; drawn one by one, the same might come twice."""
    drawn: set[int] = set()
    while len(drawn) < len(PORTS):
        drawn.add(free_port())
    return dict(zip(PORTS, drawn, strict=True))
