"""How fast a job goes: each client's time, who is late, updates and bytes a second. From a status, nothing else."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from ..storage.documents import Manifest
from .status import JobStatus

ROUNDS_LOOKED_AT = 5  # the last ones: what was usual long ago says little
LATE_FACTOR = 1.5  # times the longest that the client took lately
LATE_SECONDS_MIN = 5.0  # sooner nobody is late: rounds of a second waver


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the last rounds moved and how fast; all of whole rounds, waiting included."""

    round_bytes: float  # of the updates that counted, in one round
    total_bytes: int  # of all rounds
    updates_a_second: float
    bytes_a_second: float
    examples_a_second: float


def client_seconds(manifest: Manifest) -> dict[str, float]:
    """The seconds that each client trained in a round, as its update says; those that say none are left out."""
    said = {entry.client: _seconds(entry.facts.get("seconds", "")) for entry in manifest.entries}
    return {client: seconds for client, seconds in said.items() if seconds is not None}


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def usual_seconds(status: JobStatus) -> Mapping[str, float]:
    """The longest that each client took in the last rounds."""
    usual: dict[str, float] = {}
    for result in status.results[-ROUNDS_LOOKED_AT:]:
        for client, seconds in client_seconds(result.manifest).items():
            usual[client] = max(seconds, usual.get(client, 0.0))
    return usual


def late(status: JobStatus) -> dict[str, float]:
    """Clients still asked long after they usually answer -> what is usual for them.

    What is usual is at least a whole round of late: its clients may have waited for a trainer.
    """
    now, recent = status.now, [result.manifest.seconds for result in status.results[-ROUNDS_LOOKED_AT:]]
    if status.state != "running" or now.since_start is None or not recent:
        return {}
    usual, whole = usual_seconds(status), statistics.median(recent)
    missing = [client for client, state in now.clients.items() if state == "asked"]
    waited = now.since_start
    expected = {client: max(usual.get(client, 0.0), whole) for client in sorted(missing)}
    return {
        client: seconds for client, seconds in expected.items() if waited > max(LATE_SECONDS_MIN, LATE_FACTOR * seconds)
    }


def traffic(status: JobStatus) -> Traffic | None:
    """None before there is a round."""
    last = status.results[-ROUNDS_LOOKED_AT:]
    seconds = sum(result.manifest.seconds for result in last)
    if not last or seconds <= 0:
        return None
    entries = [entry for result in last for entry in result.manifest.entries]
    moved = sum(entry.size for entry in entries)
    return Traffic(
        round_bytes=moved / len(last),
        total_bytes=sum(result.update_bytes for result in status.results),
        updates_a_second=len(entries) / seconds,
        bytes_a_second=moved / seconds,
        examples_a_second=sum(entry.examples for entry in entries) / seconds,
    )
