"""Where the tests' servers come from: addresses, programs, images, in this order. Standard library only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[2]
CACHED_PROGRAMS = ROOT / ".cache" / "bin"
DOCKER_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Service:
    """One kind of server that the tests need, and the names that it goes by."""

    name: str
    variable: str  # an address in it goes before all else
    programs: tuple[str, ...]
    image: str
    last_resort: str | None = None  # a program that stands in where nothing else is found
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A server to use: an address that was given, a program to start, or an image to run."""

    service: str
    means: Literal["address", "program", "image"]
    value: str
    stands_in: bool = False

    def __str__(self) -> str:
        where = "the address given" if self.means == "address" else f"{self.means} {self.value}"
        return f"{self.service}: {where}" + (" (stands in for MinIO: the last resort)" if self.stands_in else "")


RABBITMQ = Service(
    "RabbitMQ",
    "WARREN_TEST_AMQP",
    ("rabbitmq-server",),
    "rabbitmq:4.1-management",
    remedy="install rabbitmq-server, start Docker, or set WARREN_TEST_AMQP=amqp://user:password@host/vhost",
)
REDIS = Service(
    "Redis",
    "WARREN_TEST_REDIS",
    ("redis-server", "valkey-server"),
    "redis:7.4",
    remedy="install redis-server or valkey-server, start Docker, or set WARREN_TEST_REDIS=redis://host/db",
)
MINIO = Service(
    "MinIO",
    "WARREN_TEST_S3",
    ("minio",),
    "minio/minio:RELEASE.2025-09-07T16-13-09Z",
    last_resort="weed",
    remedy="put minio on the PATH, install Go or start Docker, or set WARREN_TEST_S3=http://host:port"
    " with WARREN_TEST_S3_ACCESS_KEY and WARREN_TEST_S3_SECRET_KEY",
)
SERVICES = (RABBITMQ, REDIS, MINIO)


def find(service: Service) -> Found | None:
    """What the tests use for a service, or None where it has to be got first."""
    if given := os.environ.get(service.variable):
        return Found(service.name, "address", given)
    return find_own(service)


def find_own(service: Service) -> Found | None:
    """A server that the tests can start and kill: a program, or an image that is already here."""
    if program := _program(service.programs):
        return Found(service.name, "program", program)
    if docker_has(service.image):
        return Found(service.name, "image", service.image)
    if service.last_resort and (program := _program((service.last_resort,))):
        return Found(service.name, "program", program, stands_in=True)
    return None


def docker_has(image: str) -> bool:
    """Whether Docker runs here and holds the image."""
    return docker("image", "inspect", image, seconds=DOCKER_SECONDS)


def docker(*arguments: str, seconds: float) -> bool:
    """Run a Docker command; False where there is no Docker, no daemon, or it fails."""
    if shutil.which("docker") is None:
        return False
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _program(names: Sequence[str]) -> str | None:
    for name in names:
        for folder in _folders():
            if found := shutil.which(name, path=str(folder)):
                return found
    return None


def _folders() -> list[Path]:
    """Debian's RabbitMQ script before its wrapper (which changes user), then the PATH, then caches."""
    on_path = [Path(entry) for entry in os.get_exec_path() if entry]
    system = [Path("/usr/sbin"), Path("/usr/local/sbin"), Path("/opt/homebrew/sbin")]
    caches = [Path.home() / "go" / "bin", CACHED_PROGRAMS, Path(sys.executable).parent]
    return [Path("/usr/lib/rabbitmq/bin"), *on_path, *system, *caches]
