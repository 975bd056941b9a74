"""The targets of the data path, each beside what was measured: the first table of docs/performance.md.

A target is met by the medians of one run's rows; where a row is missing, the table says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import report

OVER_SERVERS = {"1 kB": 1.5, "1 MB": 1.5, "10 MB": 1.25, "100 MB": 1.25}  # of the floor, by size
STEP = 1.5
MODELS = 2.5
FOLD = {"Warren, one update a pass": 0.9, "Warren, eight updates a pass": 1.5}
PARTS = {
    "rounds": "A round beside its floor",
    "others": "A round beside other frameworks",
    "fold": "The rate of a fold",
    "step": "A gradient step",
    "memory": "Memory of a round's close",
    "many": "Memory with many clients",
    "control": "Many clients, small models",
    "virtual": "Many virtual clients on one trainer",
}

Found = Mapping[str, Mapping[str, Any]]  # the results, by name
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """One promise and what was measured of it; `value` is None where it was not."""

    what: str
    bound: float
    value: float | None
    part: str
    unit: str = ""
    at_most: bool = True

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        met = self.value <= self.bound if self.at_most else self.value >= self.bound
        return "met" if met else "**missed**"

    @property
    def promised(self) -> str:
        return f"{'at most' if self.at_most else 'at least'} {shown(self.bound)}{self.unit}"

    @property
    def measured(self) -> str:
        return "" if self.value is None else f"{shown(self.value)}{self.unit}"


def shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def rows_of(found: Found, name: str) -> list[Row]:
    rows: list[Row] = list(found.get(name, {}).get("rows", ()))
    return rows


def row_of(found: Found, name: str, **fields: object) -> Row:
    """The row with these fields; an empty one where there is none."""
    return next((row for row in rows_of(found, name) if fields.items() <= row.items()), {})


def ratio(over: Row, over_name: str, under: Row, under_name: str) -> float | None:
    """Of two medians; None where one is missing."""
    if over_name not in over or under_name not in under:
        return None
    return float(over[over_name]["median"] / under[under_name]["median"])


def rounds(found: Found) -> Iterator[Target]:
    for size, bound in OVER_SERVERS.items():
        for dtype in ("fp32", "bf16"):
            row = row_of(found, "round_overhead", size=size, dtype=dtype, scratch="disk")
            what = f"10 x {size} {dtype} over servers, times the floor"
            yield Target(what, bound, ratio(row, "servers", row, "floor"), "rounds")


def steps(found: Found) -> Iterator[Target]:
    for dtype in ("fp32", "bf16"):
        row = row_of(found, "gradient_step", dtype=dtype)
        yield Target(f"gradient step, {dtype}, times the floor", STEP, ratio(row, "servers", row, "floor"), "step")


def others(found: Found) -> Iterator[Target]:
    ours = row_of(found, "round_overhead", size="100 MB", dtype="fp32", scratch="disk")

    def theirs(peer: str) -> Row:
        return row_of(found, "peers", size="100 MB", peer=peer)

    what = "10 x 100 MB over servers: rounds in one of "
    deployment = ratio(theirs("flower-deployment"), "seconds", ours, "servers")
    yield Target(f"{what}Flower's deployment", 5, deployment, "others", at_most=False)
    simulator = ratio(theirs("flare-simulator"), "seconds", ours, "servers")
    yield Target(f"{what}FLARE's simulator", 1, simulator, "others", at_most=False)
    simulation = ratio(theirs("flower-simulation"), "seconds", ours, "embedded")
    yield Target("10 x 100 MB embedded: rounds in one of Flower's simulation", 4, simulation, "others", at_most=False)
    yield Target("10 x 100 MB embedded, times pfl", 1.3, ratio(ours, "embedded", theirs("pfl"), "seconds"), "others")


def memory(found: Found) -> Iterator[Target]:
    for course in ("10 x 100 MB", "1,000 x 10 MB"):
        row = row_of(found, "many_clients", what=course)
        models = (row["peak_mib"] - row["idle_mib"]) * 2**20 / row["model_bytes"] if row else None
        what = f"aggregator beyond its idle size, {course} over servers"
        yield Target(what, MODELS, models, "many", " models")
    for row in rows_of(found, "fold_memory"):
        if row["limit_mib"] is not None:
            what = f"folding by range from {row['read']}, {row['strategy']}, {row['reducer']}, beyond idle"
            beyond = row["peak_mib"] - row["idle_mib"]
            yield Target(what, row["limit_mib"], beyond, "memory", " MiB")


def folds(found: Found) -> Iterator[Target]:
    for part in found.get("fold", {}).get("parts", ()):
        for row in part["rows"]:
            if row["label"] in FOLD and "of_limit" in row:
                what = f"fold of {part['updates']}, {row['label'].removeprefix('Warren, ')}, of the limit"
                yield Target(what, FOLD[row["label"]], row["of_limit"], "fold", at_most=False)


def control(found: Found) -> Iterator[Target]:
    row = row_of(found, "control_path", clients=10_000)
    alone = row["embedded"]["median"] if "embedded" in row else None
    yield Target("10,000 no-op clients embedded", 10, alone, "control", " s a round")
    of_floor = ratio(row, "floor", row, "servers")
    yield Target("10,000 no-op clients over servers, of the floor's rate", 0.6, of_floor, "control", at_most=False)
    taken = found.get("control_path", {}).get("first_job_taken_seconds")
    yield Target("submit to first round job taken", 0.3, taken["median"] if taken else None, "control", " s")


def virtual(found: Found) -> Iterator[Target]:
    row = row_of(found, "virtual_clients", clients=1000)
    over = 100 * row["overhead_wall"] if row else None
    yield Target("1,000 virtual clients, over the bare loop", 10, over, "virtual", " %")


def targets(found: Found) -> list[Target]:
    """All of them, in the order of the page."""
    parts = (rounds, steps, others, memory, folds, control, virtual)
    return [target for part in parts for target in part(found)]


def as_table(found: Found) -> str:
    lines = [
        [one.what, one.promised, one.measured, one.verdict, f"[{PARTS[one.part]}](#{anchor(PARTS[one.part])})"]
        for one in targets(found)
    ]
    return report.table(("", "target", "measured", "", "where"), lines)


def anchor(title: str) -> str:
    """The heading's name in a link, as GitHub makes it."""
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -")
    return kept.replace(" ", "-")
