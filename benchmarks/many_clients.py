"""The aggregator's peak memory with few and with many clients: python benchmarks/many_clients.py

Two trainers, over real servers, clients that train nothing: 10 of 100 MB, then 1,000 of 10 MB. The peak is of the
resident memory of the whole process, mapped files included; idle is the aggregator that waits for its first job.
Memory is the same on a busy machine, so this one needs no quiet. It needs 11 GB of disk while it runs.
"""

from __future__ import annotations

import argparse
from typing import Any

import report
from rig import Rig, rig
from round_overhead import TRAINERS, job, over_servers

NAME = "many_clients"
COURSES = {"10 x 100 MB": (10, 10**8, 4), "1,000 x 10 MB": (1000, 10**7, 2)}  # clients, bytes, rounds


def measure(on: Rig, what: str, idle: float) -> dict[str, Any]:
    clients, size, rounds = COURSES[what]
    found = over_servers(on, job(size, "float32", clients, rounds), 0)
    peak = found["peak_mib"]["aggregator"]["process"]
    seconds = report.spread(found["seconds"])
    return {"what": what, "idle_mib": round(idle), "peak_mib": round(peak), "model_bytes": size, "seconds": seconds}


def as_table(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        beyond = row["peak_mib"] - row["idle_mib"]
        models = beyond * 2**20 / row["model_bytes"]
        lines.append([row["what"], f"{row['idle_mib']}", f"{row['peak_mib']}", f"{beyond}", f"{models:.2f}"])
    return report.table(("", "idle, MiB", "peak, MiB", "beyond idle, MiB", "in models"), lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    about = report.machine()
    rows: list[dict[str, Any]] = []
    for what in COURSES:  # servers and an aggregator of its own each: what one left is not the other's idle size
        with rig(trainers=TRAINERS) as on:
            idle = on.peaks()["aggregator"]["process"]
            rows.append(measure(on, what, idle))
        print(as_table(rows[-1:]).splitlines()[-1], flush=True)
        report.save(NAME, {"rows": rows, "machine": about})
    print(as_table(rows))


if __name__ == "__main__":
    main()
