"""What a benchmark leaves behind: JSON with the machine it ran on, medians with least and most, tables."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).with_name("results")
SHORT = Path(__file__).resolve().parents[1] / ".cache" / "bench"  # of the short forms: for compare.py, not for the page
LOOK_SECONDS = 3.0


def machine() -> dict[str, Any]:
    """The machine, and how busy others keep it: looked at before anything of ours runs."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "others_busy_percent": psutil.cpu_percent(LOOK_SECONDS),
        "load_average": os.getloadavg(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, least and most of several measurements."""
    return {
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
        "count": len(values),
    }


def save(name: str, fields: Mapping[str, Any], *, short: bool = False) -> Path:
    """Write `results/<name>.json`, or the same below `.cache/bench` for a short form."""
    folder = SHORT if short else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(fields, indent=1) + "\n")
    return path


def rows(name: str) -> list[dict[str, Any]]:
    """The rows of `results/<name>.json`; none where it does not exist."""
    path = RESULTS / f"{name}.json"
    found: list[dict[str, Any]] = json.loads(path.read_text())["rows"] if path.exists() else []
    return found


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def shown(measured: Mapping[str, Any]) -> str:
    """`1.23 (1.10 to 1.50)`."""
    return f"{measured['median']:.3g} ({measured['min']:.3g} to {measured['max']:.3g})"


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
