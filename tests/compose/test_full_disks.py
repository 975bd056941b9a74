"""A server's disk fills: the job waits, an alert says so, nothing is lost, and with room again it goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from compose.prometheus import Prometheus
from compose.system import System, docker

pytestmark = [pytest.mark.containers, pytest.mark.drill, pytest.mark.timeout(900)]

STILL_SECONDS = 6.0  # a round takes about one


@dataclass(frozen=True)
class Disk:
    """One server's disk.

    Attributes:
        volume: its name in the compose file.
        fill: bytes that fill it, as `head -c` reads them; None for all that there are.
        alert: what is to be told.
    """

    volume: str
    fill: str | None
    alert: str


DISKS = [
    Disk("minio", None, "WarrenStoreFills"),
    Disk("rabbitmq", "400m", "WarrenBrokerAlarm"),
    Disk("redis", None, "WarrenNotReady"),
]


def on_disk(system: System, volume: str, words: str) -> None:
    """Run a line of bash as root beside the server, its disk at /disk."""
    image = system.environment["WARREN_IMAGE"]
    mounted = f"{system.project}_{volume}:/disk"
    docker("run", "--rm", "--network", "none", "--user", "0", "-v", mounted, "--entrypoint", "bash", image, "-c", words)


@pytest.fixture
def job(extended: System) -> Iterator[str]:
    """A job that is under way, and longer than any test."""
    made = extended.submit("digits", "--set", "rounds=2000", "--set", "deadline=20m")
    extended.until(lambda: committed(extended, made) >= 2, f"{made} goes on")
    yield made
    extended.cli("job", "cancel", made, code=None)


def committed(system: System, job: str) -> int:
    return int(str(system.job(job)["round"] or 0))


@pytest.mark.parametrize("disk", DISKS, ids=[disk.volume for disk in DISKS])
def test_with_a_full_disk_of(disk: Disk, extended: System, job: str) -> None:
    asked = Prometheus(extended.ports["PROMETHEUS"])
    much = f"head -c {disk.fill}" if disk.fill else "cat"
    on_disk(extended, disk.volume, f"{much} /dev/zero > /disk/.filler; true")
    try:
        extended.until(lambda: asked.alert(disk.alert) in ("pending", "firing"), f"{disk.alert} is raised")
        before = stopped_at(extended, job)
        assert extended.job(job)["state"] != "failed"
    finally:
        on_disk(extended, disk.volume, "rm -f /disk/.filler")
    extended.until(lambda: committed(extended, job) >= before + 3, f"{job} goes on with room again")
    extended.until(lambda: asked.alert(disk.alert) == "inactive", f"{disk.alert} is over")
    extended.cli("job", "verify", job)


def stopped_at(system: System, job: str) -> int:
    """The round at which the job stands still."""
    seen: list[int] = []

    def still() -> bool:
        seen.append(committed(system, job))
        begun = time.monotonic()
        system.until(lambda: time.monotonic() - begun > STILL_SECONDS, "a while has passed")
        return committed(system, job) == seen[-1]

    system.until(still, f"{job} stands still")
    return seen[-1]
