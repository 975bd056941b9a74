"""What moved: ratios of the short forms, from `make bench`, beside those of the committed results. Never times.

    python benchmarks/compare.py              # a table; always ends with 0
    python benchmarks/compare.py --strict     # ends with 1 when something moved for the worse

A ratio is of two things measured in one run, so that another machine's speed cancels. It may lie, by its run's own
spread, between the extremes of one side over the median of the other; it moved when the two runs' intervals do not
meet. A row that only one side has is named.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import report


@dataclass(frozen=True, slots=True)
class Ratio:
    """One spread over another (`report.spread`)."""

    label: str
    over: Mapping[str, float]
    under: Mapping[str, float]
    less_is_better: bool = True

    @property
    def median(self) -> float:
        return self.over["median"] / self.under["median"]

    @property
    def low(self) -> float:
        return min(self.over["min"] / self.under["median"], self.over["median"] / self.under["max"])

    @property
    def high(self) -> float:
        return max(self.over["max"] / self.under["median"], self.over["median"] / self.under["min"])


def verdict(committed: Ratio, now: Ratio) -> str:
    """`as before`, `better` or `worse`."""
    if now.low <= committed.high and committed.low <= now.high:
        return "as before"
    return "better" if (now.median < committed.median) == now.less_is_better else "worse"


def round_overhead(found: Mapping[str, Any]) -> Iterator[Ratio]:
    for row in found["rows"]:
        if row["scratch"] == "disk":
            what = f"a round of 10 x {row['size']} {row['dtype']}"
            yield Ratio(f"{what}: servers / floor", row["servers"], row["floor"])
            yield Ratio(f"{what}: embedded / floor", row["embedded"], row["floor"])


def control_path(found: Mapping[str, Any]) -> Iterator[Ratio]:
    rows = {row["clients"]: row for row in found["rows"]}
    for clients, row in rows.items():
        yield Ratio(f"a round of {clients} clients: servers / embedded", row["servers"], row["embedded"])
        if "floor" in row:
            yield Ratio(f"a round of {clients} clients: servers / floor", row["servers"], row["floor"])
    for place in ("servers", "embedded") if {10, 100} <= rows.keys() else ():
        yield Ratio(f"{place}: a round of 100 clients / of 10", rows[100][place], rows[10][place])


def virtual_clients(found: Mapping[str, Any]) -> Iterator[Ratio]:
    for row in found["rows"]:
        for kind in ("wall", "cpu"):
            label = f"{row['clients']} virtual clients, {kind}: ours / bare loop"
            yield Ratio(label, row[f"ours_{kind}"], row[f"bare_{kind}"])


def gradient_step(found: Mapping[str, Any]) -> Iterator[Ratio]:
    for row in found["rows"]:
        yield Ratio(f"a gradient step, {row['dtype']}: servers / floor", row["servers"], row["floor"])


def fold(found: Mapping[str, Any]) -> Iterator[Ratio]:
    for part in found["parts"]:
        limits = [row["gb_a_second"] for row in part["rows"] if "of_limit" not in row and "gb_a_second" in row]
        limit = max(limits, key=lambda rate: float(rate["median"]))
        for row in part["rows"]:
            if row["label"].startswith("Warren") and "gb_a_second" in row:
                label = f"fold of {part['updates']}, {row['label']}: rate / limit"
                yield Ratio(label, row["gb_a_second"], limit, less_is_better=False)


RATIOS: dict[str, Callable[[Mapping[str, Any]], Iterator[Ratio]]] = {
    "round_overhead": round_overhead,
    "control_path": control_path,
    "virtual_clients": virtual_clients,
    "gradient_step": gradient_step,
    "fold": fold,
}


def ratios(folder: Path) -> dict[str, Ratio]:
    """All ratios of a folder of results, by label."""
    found: dict[str, Ratio] = {}
    for name, read in RATIOS.items():
        path = folder / f"{name}.json"
        if path.exists():
            found |= {ratio.label: ratio for ratio in read(json.loads(path.read_text()))}
    return found


def compared(committed: Mapping[str, Ratio], now: Mapping[str, Ratio]) -> list[tuple[str, str, str, str]]:
    """(what, then, now, verdict) of each ratio measured now."""
    rows = []
    for label, ratio in now.items():
        before = committed.get(label)
        said = "nothing to compare with" if before is None else verdict(before, ratio)
        rows.append((label, _shown(before), _shown(ratio), said))
    return rows


def _shown(ratio: Ratio | None) -> str:
    return "" if ratio is None else f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strict", action="store_true", help="end with 1 when something moved for the worse")
    parser.add_argument("--committed", type=Path, default=report.RESULTS)
    parser.add_argument("--now", type=Path, default=report.SHORT)
    given = parser.parse_args()
    now = ratios(given.now)
    if not now:
        sys.exit(f"no results in {given.now}: make bench writes them")
    rows = compared(ratios(given.committed), now)
    print(report.table(("ratio", "committed", "now", ""), rows))
    moved = [row for row in rows if row[3] in ("better", "worse")]
    print(f"\n{len(moved)} of {len(rows)} moved beyond the spread")
    for label, before, after, said in moved:
        print(f"  {said}: {label}: {before} -> {after}")
    if given.strict and any(row[3] == "worse" for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
