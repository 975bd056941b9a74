"""Rounds of other frameworks in which ten clients train nothing: the rows of round_overhead.py, by them.

    python benchmarks/peers.py                               # 1 kB to 100 MB, all that `make peers` installed
    python benchmarks/peers.py --only pfl --sizes "1 MB"     # the others' figures stay as they are

Each runs in its own environment, in processes that it starts itself: Flower's simulation with two workers, as ours has
two trainers; pfl in one process; Flower's deployment with a SuperNode for each client, FLARE's simulator with a process
for each. A round's seconds are those from one to the next, after a warm-up; memory is the largest peak among the
processes. Arrays are float32: three of the four exchange numpy arrays, which have no bfloat16. To measure them in one
run with ours: round_overhead.py --peers.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import environments
import psutil
import report
from rig import end_in_order, peak_mib
from round_overhead import CLIENTS, SIZES, TRAINERS

NAME = "peers"
RUNNERS = Path(__file__).with_name("runners")
MEASURED = 5
COURSE_SECONDS = 600
LOOK_SECONDS = 0.5
SITE_PACKAGES = sysconfig.get_path("purelib")  # holds our torch
OURS = {"embedded": "Warren embedded", "servers": "Warren over servers"}


@dataclass(frozen=True, slots=True)
class Peer:
    """One way that another framework runs rounds."""

    label: str
    runner: str
    environment: str
    options: tuple[str, ...] = ()
    warm_up: int = 2  # rounds


PEERS = {
    "flower-simulation": Peer("Flower simulation", "rounds_flower_simulation", "flower", (str(TRAINERS),)),
    "flower-deployment": Peer("Flower deployment", "rounds_flower_deployment", "flower", warm_up=1),
    "flare-simulator": Peer("FLARE simulator", "rounds_flare", "nvflare"),
    "pfl": Peer("pfl", "rounds_pfl", "pfl", (SITE_PACKAGES,)),
}


def measure(name: str, label: str) -> dict[str, Any]:
    """One figure; `not_run` with the reason where there is none."""
    return {"peer": name, "size": label, "machine": report.machine()} | run(name, SIZES[label], CLIENTS)


def run(name: str, size: int, clients: int) -> dict[str, Any]:
    """Rounds of so many clients and bytes: `seconds`, `peak_mib` and `version`, or `not_run` with the reason."""
    peer = PEERS[name]
    if why := environments.missing(peer.environment):
        return {"not_run": why}
    numbers = [str(number) for number in (size, clients, peer.warm_up + MEASURED)]
    command = [str(environments.python(peer.environment)), str(RUNNERS / f"{peer.runner}.py"), *numbers, *peer.options]
    with tempfile.TemporaryDirectory(prefix="warren-bench-") as folder:
        out, errors = Path(folder) / "out", Path(folder) / "errors"
        with out.open("wb") as o, errors.open("wb") as e:
            process = subprocess.Popen(command, stdout=o, stderr=e, cwd=folder, start_new_session=True)
            peak = _watched(process)
        if peak is None:
            return {"not_run": f"failed: not done after {COURSE_SECONDS} s"}
        if process.returncode:
            lines = errors.read_text(errors="replace").strip().splitlines() or [f"ended with {process.returncode}"]
            return {"not_run": f"failed: {lines[-1][:200]}"}
        found = json.loads(out.read_text(errors="replace").strip().splitlines()[-1])
    seconds = found["seconds"][-MEASURED:]
    if len(seconds) < MEASURED:
        return {"not_run": f"failed: {len(seconds)} rounds of {MEASURED} were timed"}
    return {"seconds": report.spread(seconds), "peak_mib": round(peak), "version": found["version"]}


def _watched(process: subprocess.Popen[bytes]) -> float | None:
    """The largest peak (MiB) among a process and all that it started; none when all were ended for taking too long."""
    until, peak = time.monotonic() + COURSE_SECONDS, 0.0
    leader = psutil.Process(process.pid)
    family: set[psutil.Process] = set()
    try:
        while process.poll() is None and time.monotonic() < until:
            with contextlib.suppress(psutil.NoSuchProcess):
                family |= {leader, *leader.children(recursive=True)}
            peak = max([peak, *(peak_mib(one.pid) for one in family if one.is_running())])
            time.sleep(LOOK_SECONDS)
        return None if process.poll() is None else peak
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        for one in family:  # a process's identity is its id and its start: no stranger is ended
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()


def merged(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The saved rows with those measured now in the places of their older selves."""
    by_key = {(row["size"], row["peer"]): row for row in [*report.rows(NAME), *rows]}
    return [by_key[size, name] for size in SIZES for name in PEERS if (size, name) in by_key]


def as_table(rows: list[dict[str, Any]], ours: Sequence[dict[str, Any]] = ()) -> str:
    """A line for each size: seconds a round of each, with its largest process; ours (round_overhead's rows) first."""
    lines = []
    own = {row["size"]: row for row in ours if (row["dtype"], row["scratch"]) == ("fp32", "disk")}
    for size in SIZES:
        found = {row["peer"]: row for row in rows if row["size"] == size}
        if found:
            lines.append([f"{size} fp32", *(cell(found.get(name)) for name in PEERS)])
            lines[-1][1:1] = [_own(own.get(size), place) for place in OURS]
    labels = [f"{label}: s a round; MiB" for label in OURS.values()]
    for name, peer in PEERS.items():
        versions = sorted({row["version"] for row in rows if row["peer"] == name and "version" in row})
        labels.append(", ".join([peer.label, *versions]) + ": s a round; MiB")
    return report.table(("10 clients x", *labels), lines)


def _own(row: dict[str, Any] | None, place: str) -> str:
    if row is None:
        return "not run"
    found = row["peak_mib"][place]
    largest = max(max(part.values()) if isinstance(part, dict) else part for part in found.values())
    return f"{report.shown(row[place])}; {largest:.0f}"


def cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "not run"
    if "not_run" in row:
        return f"not run: {row['not_run']}"
    return f"{report.shown(row['seconds'])}; {row['peak_mib']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="*", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--only", nargs="*", choices=list(PEERS), default=list(PEERS))
    given = parser.parse_args()
    end_in_order()
    rows: list[dict[str, Any]] = []
    for label in given.sizes:
        for name in given.only:
            rows.append(measure(name, label))
            print(f"{label}, {PEERS[name].label}: {cell(rows[-1])}", flush=True)
            report.save(NAME, {"rows": merged(rows)})
    print(as_table(rows, report.rows("round_overhead")))


if __name__ == "__main__":
    main()
