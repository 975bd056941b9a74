"""What an experiment is, and how its cells are run: one after another, each result kept as soon as it is there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import report
from cell import Cell, Found, Result

Size = Literal["smoke", "short", "full"]
RESULTS = report.RESULTS / "fidelity"


@dataclass(frozen=True, slots=True)
class Experiment:
    """One table beside its paper's.

    Attributes:
        cells: all cells of this size, given what was found so far: a cell that follows from another is not
            `ready` before that one is found.
        table: Markdown, from what was found; says what is still missing.
        draw: the curves, to a file.
        trainers: training processes that it needs, where their number is part of the experiment.
        run_cell: runs one in another way, given the folder of the data; None: embedded.
    """

    name: str
    title: str
    cells: Callable[[Size, Found], Sequence[Cell]]
    table: Callable[[Size, Found], str]
    draw: Callable[[Size, Found, Path], None]
    trainers: int | None = None
    needs_mnist: bool = True
    run_cell: Callable[[Cell, Path | None], Result] | None = None  # instead of an embedded run


def place_of(experiment: Experiment, size: Size, out: Path) -> Path:
    """Where the results of this size are kept. The full run takes up the cells of the short one."""
    return out / (f"{experiment.name}.smoke.json" if size == "smoke" else f"{experiment.name}.json")


def load(path: Path) -> dict[str, Result]:
    if not path.exists():
        return {}
    return {name: Result.from_fields(fields) for name, fields in json.loads(path.read_text())["cells"].items()}


def save(path: Path, found: Found, machine: dict[str, Any]) -> None:
    """Written to one side and renamed: a stopped run leaves whole results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = {"cells": {name: found[name].as_fields() for name in sorted(found)}, "machine": machine}
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(fields, indent=None, separators=(",", ":")).replace('"},"', '"},\n"') + "\n")
    beside.replace(path)


def missing(cells: Sequence[Cell], found: Found) -> list[Cell]:
    return [cell for cell in cells if cell.name not in found or found[cell.name].digest != cell.digest]


def run(
    experiment: Experiment,
    size: Size,
    path: Path,
    run_one: Callable[[Cell], Result],
    say: Callable[[str], None],
    seconds_max: float = float("inf"),
) -> dict[str, Result]:
    """Run what is missing, cell by cell, until nothing is or the time is over."""
    found = load(path)
    machine = report.machine()
    until = time.monotonic() + seconds_max
    left = missing(experiment.cells(size, found), found)
    say(f"{experiment.name}: {len(left)} cells to run, about {_minutes(left)} on two quiet cores")
    while ready := [cell for cell in missing(experiment.cells(size, found), found) if cell.ready]:
        if time.monotonic() > until:
            say(f"{experiment.name}: stopped with {len(ready)} cells ready; run again to go on")
            break
        cell = ready[0]
        result = found[cell.name] = run_one(cell)
        save(path, found, machine)
        ends = {name: curve[-1][1] for name, curve in result.curves.items() if curve}
        shown = ", ".join(f"{name} {value:.4f}" for name, value in ends.items() if "accuracy" in name)
        say(f"  {cell.name}: {shown} ({result.ended}, {result.seconds:.0f} s, {cell.seconds:.0f} expected)")
    return found


def _minutes(cells: Sequence[Cell]) -> str:
    return f"{sum(cell.seconds for cell in cells) / 60:.0f} min"
