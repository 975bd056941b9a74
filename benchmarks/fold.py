"""The rate of a fold: updates of 25 million float32 in memory, beside what the memory allows and what others do.

    python benchmarks/fold.py             # 10, 50 and 100 updates: some minutes
    python benchmarks/fold.py --short     # 10 updates, saved below .cache/bench for compare.py
    python benchmarks/fold.py --ci        # the same, ours alone beside the limit

Each contender is a process of its own that makes the updates, folds once unmeasured, then so many times: GB/s of
updates read, and the peak of its memory beyond the updates. The limit adds each update to the sum in place, without
weights, and neither clears nor divides the sum, which all others do; half of it is measured before the others and half
after. Reading alone sums up the items of each update and writes nothing: about what a fold in many updates a pass can
come to. The averages of all are compared with a reference. Of more than --distinct updates the first stand for the
rest again (20 are 2 GB: far beyond any cache). What would take more than --memory-gib, or is not installed (`make
peers`), is named.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import environments
import report

sys.path.append(str(Path(__file__).with_name("runners")))

import folded

NAME = "fold"
RUNNERS = Path(__file__).with_name("runners")
COUNTS = (10, 50, 100)
ITEMS = 25_000_000
REPEATS = 6
TOLERANCE = 1e-4  # relative, of a sum over a thousand items
PROCESS_SECONDS = 900
SITE_PACKAGES = sysconfig.get_path("purelib")  # holds our torch


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to fold, and the interpreter that runs it."""

    label: str
    runner: str
    options: tuple[str, ...] = ()
    peer: str = ""  # whose environment; "" is ours
    copies: float = 2.0  # models held beside the updates, by its code
    copies_each: float = 0.0  # for each update
    copies_distinct: float = 0.0  # for each that differs


LIMITS = (
    Contender("read-add-write, torch's threads", "fold_limit", ("torch",)),
    Contender("read-add-write, a slice a core", "fold_limit", ("slices",)),
)
CONTENDERS = (
    Contender("reading alone, a slice a core", "fold_limit", ("read",), copies=0.0),
    Contender("Warren, one update a pass", "fold_ours", ("1",)),
    Contender("Warren, eight updates a pass", "fold_ours", ("8",)),
    Contender("Warren, from files", "fold_files", ("disk",), copies_distinct=1.0),
    Contender("Warren, from files in /dev/shm", "fold_files", ("/dev/shm",), copies_distinct=1.0),
    Contender("naive loop over state dicts", "fold_naive", copies=3.0),
    Contender("Flower, aggregate of arrays", "fold_flower", ("arrays",), "flower", copies_each=1.0),
    Contender("Flower, records of messages", "fold_flower", ("records",), "flower", copies=4.0, copies_distinct=1.0),
    Contender("FLARE, WeightedAggregationHelper", "fold_flare", (SITE_PACKAGES,), "nvflare"),
)
CI = ("Warren, one update a pass", "Warren, eight updates a pass", "Warren, from files")


def refusal(one: Contender, count: int, distinct: int, memory_gib: float) -> str:
    """Why a contender is not run; "" if it is."""
    if one.peer and environments.missing(one.peer):
        return environments.missing(one.peer)
    each = one.copies_each * count + (1 + one.copies_distinct) * min(count, distinct)
    needed = 4 * ITEMS * (one.copies + each) / 2**30
    return f"would take {needed:.0f} GiB" if needed > memory_gib else ""


def run(one: Contender, count: int, distinct: int, repeats: int) -> dict[str, Any]:
    """Seconds, memory and a sample of the average. Raises RuntimeError with what the process said."""
    interpreter = environments.python(one.peer) if one.peer else Path(sys.executable)
    numbers = [str(number) for number in (count, distinct, ITEMS, repeats)]
    command = [str(interpreter), str(RUNNERS / f"{one.runner}.py"), *numbers, *one.options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PROCESS_SECONDS)
    if done.returncode:
        raise RuntimeError(f"{one.label} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(one: Contender, count: int, distinct: int, repeats: int) -> dict[str, Any]:
    found = run(one, count, distinct, repeats)
    if one.runner != "fold_limit":
        for sum_, right in zip(found["sample"], folded.expected(count, distinct, ITEMS), strict=True):
            assert abs(sum_ - right) <= TOLERANCE * abs(right), f"{one.label}: another average"
    rates = [4e-9 * ITEMS * count / seconds for seconds in found["seconds"]]
    return {"rates": rates, "beyond_mib": found["beyond_mib"], "version": found.get("version", "")}


def measure(
    count: int, distinct: int, repeats: int, memory_gib: float, contenders: Sequence[Contender]
) -> dict[str, Any]:
    """A count of updates: these contenders, the limit around them."""
    about = report.machine()
    half = (repeats + 1) // 2
    before = [measured(one, count, distinct, half) for one in LIMITS]
    rows: list[dict[str, Any]] = []
    for one in contenders:
        why = refusal(one, count, distinct, memory_gib)
        rows.append({"label": one.label, "not_run": why} if why else _row(one, measured(one, count, distinct, repeats)))
    after = [measured(one, count, distinct, half) for one in LIMITS]
    limits = [
        _row(one, {**first, "rates": first["rates"] + last["rates"]})
        for one, first, last in zip(LIMITS, before, after, strict=True)
    ]
    best = max(row["gb_a_second"]["median"] for row in limits)
    for row in rows:
        if "gb_a_second" in row:
            row["of_limit"] = round(row["gb_a_second"]["median"] / best, 3)
    return {"updates": count, "distinct": min(count, distinct), "rows": limits + rows, "machine": about}


def _row(one: Contender, found: dict[str, Any]) -> dict[str, Any]:
    label = f"{one.label} ({found['version']})" if found["version"] else one.label
    return {
        "label": label,
        "gb_a_second": report.spread(found["rates"]),
        "beyond_mib": round(found["beyond_mib"]),
    }


def as_table(parts: list[dict[str, Any]]) -> str:
    lines = []
    for part in parts:
        for row in part["rows"]:
            start = [f"{part['updates']}", row["label"]]
            if "not_run" in row:
                lines.append([*start, f"not run: {row['not_run']}", "", ""])
            else:
                ratio = f"{row['of_limit']:.2f}" if "of_limit" in row else ""
                lines.append([*start, report.shown(row["gb_a_second"]), ratio, f"{row['beyond_mib']}"])
    return report.table(("updates", "", "GB/s of updates", "of the limit", "beyond the updates, MiB"), lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="10 updates")
    parser.add_argument("--ci", action="store_true", help="10 updates, only by ours; saved as the short form is")
    parser.add_argument("--counts", nargs="*", type=int, default=list(COUNTS))
    parser.add_argument("--distinct", type=int, default=20)
    parser.add_argument("--memory-gib", type=float, default=6.0, help="what would take more is named and not run")
    given = parser.parse_args()
    short = given.short or given.ci
    contenders = [one for one in CONTENDERS if one.label in CI or not given.ci]
    parts: list[dict[str, Any]] = []
    for count in given.counts[: 1 if short else None]:
        parts.append(measure(count, given.distinct, REPEATS, given.memory_gib, contenders))
        print(as_table(parts[-1:]), flush=True)
        report.save(NAME, {"parts": parts, "machine": parts[0]["machine"]}, short=short)


if __name__ == "__main__":
    main()
