"""What a round costs beside the training: ten clients that train nothing, one size after another, beside the floor.

    python benchmarks/round_overhead.py             # 1 kB to 400 MB, fp32 and bf16: about twenty minutes
    python benchmarks/round_overhead.py --short     # to 10 MB, fp32, saved below .cache/bench for compare.py
    python benchmarks/round_overhead.py --peers     # and other frameworks, size by size, in the same run (peers.py)

Two trainers. Each size: ours over real servers and the floor in turns (turns.py), then ours embedded. A round's
seconds are those from one manifest to the next. Bytes on the wire are all that the loopback carried in a course, by the
kernel's count, over its rounds: of every process, so that others who talk there count too.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import floor
import psutil
import report
from rig import WARREN, Rig, peak_mib, rig, wire_bytes, write_job
from turns import TURNS, in_turns, seconds

from warren.storage import keys

NAME = "round_overhead"
NOOP = Path(__file__).with_name("noop.py")
PEERS = Path(__file__).with_name("peers.py")
CLIENTS = 10
TRAINERS = 2
SIZES = {"1 kB": 1000, "1 MB": 10**6, "10 MB": 10**7, "100 MB": 10**8, "400 MB": 4 * 10**8}
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
ROUNDS = {"1 kB": 30, "1 MB": 21, "10 MB": 9, "100 MB": 6, "400 MB": 5}  # measured; two more go before them
SHORT = ("1 kB", "1 MB", "10 MB")
CI = ("1 MB",)
WARM_UP = 2
FINISH_SECONDS = 1200
POLL_SECONDS = 0.2


def job(size: int, dtype: str, clients: int, rounds: int) -> dict[str, Any]:
    """A job of no-op clients: nothing is evaluated, little is kept."""
    return {
        "task": str(NOOP),
        "clients": clients,
        "rounds": rounds,
        "quorum": "100%",
        "deadline": "10m",
        "keep_updates": 0,
        "keep_checkpoints": "2",
        "params": {"size": size, "dtype": dtype},
        "evaluate": {"every": 0, "share": 0.0, "held_out": False},
    }


def periods(frozen: list[float], warm_up: int) -> list[float]:
    """Seconds from manifest to manifest, after so many rounds; `frozen` begins with round 0."""
    ends = frozen[warm_up:]
    return [after - before for before, after in itertools.pairwise(ends)]


def over_servers(on: Rig, fields: dict[str, Any], warm_up: int = WARM_UP) -> dict[str, Any]:
    """Run a job; the seconds of its rounds, its bytes on the wire a round, the services' peak memory."""
    on.forget_peaks()
    wire = wire_bytes()
    name = on.submit(fields)
    on.finish(name, FINISH_SECONDS)
    found: dict[str, Any] = {"wire_bytes": (wire_bytes() - wire) / fields["rounds"]}
    found |= {"seconds": periods(on.frozen_at(name), warm_up), "peak_mib": on.peaks()}
    on.drop(name)
    return found


def embedded(fields: dict[str, Any], warm_up: int = WARM_UP) -> dict[str, Any]:
    """The same job by `warren run`, its processes' peaks looked at while it runs."""
    with tempfile.TemporaryDirectory(prefix="warren-bench-") as place:
        path = write_job(Path(place) / "job.toml", fields)
        command = [str(WARREN), "run", str(path), "--trainers", str(TRAINERS), "--device", "cpu", "--json"]
        with (Path(place) / "out").open("wb") as out:
            process = subprocess.Popen([*command, "--store", f"{place}/runs"], stdout=out)
            peaks = _watched(process)
        if process.returncode:
            raise RuntimeError(f"warren run ended with {process.returncode}")
        lines = (Path(place) / "out").read_text().splitlines()
        name = next(json.loads(line)["job"] for line in lines)
        manifests = sorted((Path(place) / "runs" / keys.manifests(name)).iterdir())
        return {"seconds": periods([path.stat().st_mtime for path in manifests], warm_up), "peak_mib": peaks}


def _watched(process: subprocess.Popen[bytes]) -> dict[str, float]:
    leader = psutil.Process(process.pid)
    peaks = {"process": 0.0, "training": 0.0}
    while process.poll() is None:
        peaks["process"] = max(peaks["process"], peak_mib(process.pid))
        try:
            children = leader.children(recursive=True)
        except psutil.NoSuchProcess:
            break
        peaks["training"] = max([peaks["training"], *(peak_mib(child.pid) for child in children)])
        time.sleep(POLL_SECONDS)
    process.wait()
    return peaks


def measure(on: Rig, label: str, dtype: str) -> dict[str, Any]:
    """One row: the floor, ours over servers, ours embedded."""
    size, count = SIZES[label], ROUNDS[label]
    about = report.machine()
    same: dict[str, Any] = {"size": size, "dtype": DTYPES[dtype], "clients": CLIENTS, "trainers": TRAINERS}

    def of_ours(rounds: int) -> dict[str, Any]:
        on.empty_trash()
        return over_servers(on, job(size, DTYPES[dtype], CLIENTS, WARM_UP + rounds))

    def of_the_floor(rounds: int) -> dict[str, Any]:
        on.empty_trash()
        return floor.measure(on, **same, rounds=WARM_UP + rounds)

    ours, (floors,) = in_turns(of_ours, [of_the_floor], rounds=count, turns=turns_of(label))
    on.empty_trash()
    alone = embedded(job(size, DTYPES[dtype], CLIENTS, WARM_UP + count))
    row: dict[str, Any] = {
        "size": label,
        "dtype": dtype,
        "floor": report.spread(seconds(floors, WARM_UP)),
        "servers": report.spread(seconds(ours)),
        "embedded": report.spread(alone["seconds"]),
        "peak_mib": {"servers": ours[-1]["peak_mib"], "embedded": alone["peak_mib"], "floor": floors[-1]["peak_mib"]},
        "wire_mb": {"servers": _megabytes(ours[-1]), "floor": _megabytes(floors[-1])},
    }
    row["machine"] = about
    row["ratio"] = round(row["servers"]["median"] / row["floor"]["median"], 2)
    return row


def _megabytes(found: dict[str, Any]) -> float:
    return round(float(found["wire_bytes"]) / 1e6, 3)


def turns_of(label: str) -> int:
    """Of the largest models one: a round takes a quarter of a minute."""
    return 1 if label == "400 MB" else TURNS


def fits(label: str) -> bool:
    """Whether the disk has room for a row. MinIO frees later what was deleted, and ends connections without room."""
    each = WARM_UP + -(-ROUNDS[label] // turns_of(label))
    needed = SIZES[label] * (CLIENTS + 1) * (each + 1)  # of one course: ours has a round 0, too
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < needed:
        print(f"{label} left out: it needs {needed / 1e9:.0f} GB of disk, {free / 1e9:.0f} are free", flush=True)
    return free >= needed


def as_table(rows: list[dict[str, Any]]) -> str:
    columns = ["10 clients x", "floor, s a round", "servers, s a round", "ratio", "embedded, s a round"]
    columns += ["on the wire, MB a round", "floor's"]
    columns += ["aggregator, MiB", "trainer, MiB", "its training, MiB", "embedded, MiB"]
    lines = []
    for row in rows:
        peaks = row["peak_mib"]
        trainer = peaks["servers"]["trainer-1"]
        memory = (peaks["servers"]["aggregator"]["process"], trainer["process"], trainer["training"])
        lines.append(
            [
                f"{row['size']} {row['dtype']}" + (", scratch in memory" if row["scratch"] == "memory" else ""),
                *(report.shown(row[name]) for name in ("floor", "servers")),
                f"{row['ratio']:.2f}",
                report.shown(row["embedded"]),
                *(f"{row['wire_mb'][place]:,.4g}" if "wire_mb" in row else "" for place in ("servers", "floor")),
                *(f"{value:.0f}" for value in (*memory, peaks["embedded"]["process"])),
            ]
        )
    return report.table(columns, lines)


def merged(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The saved rows, those measured now in the places of their older selves; smaller sizes and fp32 first."""
    by_key = {(row["dtype"], row["size"], row["scratch"]): row for row in [*report.rows(NAME), *rows]}
    order = [(dtype, size, place) for dtype in DTYPES for size in SIZES for place in ("disk", "memory")]
    return [by_key[key] for key in order if key in by_key]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="to 10 MB, fp32")
    parser.add_argument("--ci", action="store_true", help="1 MB, fp32; saved as the short form is")
    parser.add_argument("--peers", action="store_true", help="other frameworks too, where they are installed")
    parser.add_argument("--sizes", nargs="*", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--dtypes", nargs="*", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument("--scratch", type=Path, help="a folder in memory for what is on its way: /dev/shm")
    given = parser.parse_args()
    short = given.short or given.ci
    labels = CI if given.ci else SHORT if given.short else given.sizes
    rows: list[dict[str, Any]] = []
    with rig(trainers=TRAINERS, scratch=given.scratch) as on:
        idle = on.peaks()
        for dtype in given.dtypes[: 1 if short else None]:
            for label in filter(fits, labels):
                row = measure(on, label, dtype) | {"scratch": "memory" if given.scratch else "disk"}
                rows.append(row)
                print(as_table([row]).splitlines()[-1], flush=True)
                kept = rows if short else merged(rows)
                fields = {"rows": kept, "idle_mib": idle, "machine": row["machine"]}
                report.save(NAME, fields, short=short)
                if given.peers and not short and dtype == "fp32":
                    subprocess.run([sys.executable, str(PEERS), "--sizes", label], check=True)
    print(as_table(rows))


if __name__ == "__main__":
    main()
