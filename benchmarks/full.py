"""All benchmarks for the page, on a quiet machine: python benchmarks/full.py [--minutes 25] [--only PART...] [--again]

Parts in the order of what the page misses most; each is a command of its own. A part that ended well is not run again
(its stamp lies below .cache/bench-full), so that a second start goes on where the first one stopped; --again begins
anew. As it begins it puts those results away that keep older rows beside new ones; what was not measured again by its
end comes back. With --only nothing is put away: a part's rows take the places of their older selves. A part that would
take more than the minutes left is left for the next start, and named. The tables are written after each.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import report

HERE = Path(__file__).parent
STAMPS = HERE.parent / ".cache" / "bench-full"
BEFORE = "before"
MERGED = ("round_overhead", "peers", "control_path")


@dataclass(frozen=True, slots=True)
class Part:
    """One command, and about how long it takes on two quiet cores."""

    name: str
    minutes: float
    script: str
    options: tuple[str, ...] = ()


def rounds(name: str, minutes: float, dtype: str, *sizes: str) -> Part:
    return Part(name, minutes, "round_overhead", ("--dtypes", dtype, "--sizes", *sizes))


def beside_others(name: str, minutes: float, *sizes: str) -> Part:
    return Part(name, minutes, "round_overhead", ("--peers", "--dtypes", "fp32", "--sizes", *sizes))


PARTS = (
    rounds("rounds", 2.5, "fp32", "1 kB", "1 MB", "10 MB"),
    beside_others("others-100", 10, "100 MB"),
    Part("fold", 1, "fold", ("--counts", "10")),
    Part("step", 3.5, "gradient_step"),
    Part("control", 3, "control_path", ("--clients", "10", "100", "1000")),
    rounds("rounds-bf16", 4.5, "bf16", "1 kB", "1 MB", "10 MB", "100 MB"),
    Part("control-10000", 3.5, "control_path", ("--clients", "10000")),
    Part("virtual", 5.5, "virtual_clients"),
    Part("memory", 2.5, "fold_memory", ("--save",)),
    Part("many", 4, "many_clients"),
    Part("folds", 5, "fold"),
    rounds("rounds-400", 6, "fp32", "400 MB"),
    beside_others("others-1", 4.5, "1 MB"),
    rounds("rounds-400-bf16", 4, "bf16", "400 MB"),
    beside_others("others", 9, "1 kB", "10 MB"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing that would end later")
    parser.add_argument("--only", nargs="*", choices=[part.name for part in PARTS], default=[])
    parser.add_argument("--again", action="store_true", help="from the first part on")
    given = parser.parse_args()
    wanted = [part for part in PARTS if part.name in given.only or not given.only]
    start(wanted, again=given.again, whole=not given.only)
    until = time.monotonic() + 60 * given.minutes
    try:
        left = [part.name for part in wanted if not done(part, until)]
    finally:
        restore()
    print(f"left: {' '.join(left)}" if left else "all parts are done")
    sys.exit(bool(left))


def start(wanted: list[Part], *, again: bool, whole: bool) -> None:
    """Let these parts run that have not run yet; `again`: and those that have. `whole`: they are all there are."""
    if not STAMPS.exists() or (again and whole):
        begin()
    for part in wanted if again else []:
        (STAMPS / part.name).unlink(missing_ok=True)
    if whole:
        put_away()


def begin() -> None:
    """Every part is to run; copies of the results that keep older rows lie beside the stamps."""
    shutil.rmtree(STAMPS, ignore_errors=True)
    (STAMPS / BEFORE).mkdir(parents=True)
    for name in MERGED:
        path = report.RESULTS / f"{name}.json"
        if path.exists():
            shutil.copy(path, STAMPS / BEFORE)


def put_away() -> None:
    """Of those results none that is still the old one stays."""
    for path in (STAMPS / BEFORE).glob("*.json"):
        found = report.RESULTS / path.name
        if found.exists() and found.read_bytes() == path.read_bytes():
            found.unlink()


def restore() -> None:
    """Put back what was put away and not measured since."""
    for path in (STAMPS / BEFORE).glob("*.json"):
        if not (report.RESULTS / path.name).exists():
            shutil.copy(path, report.RESULTS / path.name)


def done(part: Part, until: float) -> bool:
    """Run a part if it has not run and would end in time; whether it has."""
    stamp = STAMPS / part.name
    if stamp.exists():
        return True
    if time.monotonic() + 60 * part.minutes > until:
        return False
    print(f"--- {part.name}, about {part.minutes:g} minutes", flush=True)
    begun = time.monotonic()
    ended = subprocess.run([sys.executable, str(HERE / f"{part.script}.py"), *part.options]).returncode
    print(f"--- {part.name}: {(time.monotonic() - begun) / 60:.1f} minutes, ended with {ended}", flush=True)
    if ended == 0:
        stamp.touch()
        subprocess.run([sys.executable, str(HERE / "tables.py")], check=True)
    return ended == 0


if __name__ == "__main__":
    main()
