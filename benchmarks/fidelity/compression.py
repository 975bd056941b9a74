"""Bytes against accuracy of each compression of updates: MNIST's 2NN, IID, C = 0.1, as in McMahan's table.

Deltas, rate 0.1, the same seed, so all cells start alike and ask the same clients; the accuracy on the test images
after as many rounds, and the bytes of all updates that counted. Konecny et al. 2016 and Alistarh et al. 2017 (QSGD)
set the expectation: eight bits with stochastic rounding cost no accuracy. Of the largest items, what does not travel is
kept by the client and added to its next update (error feedback), but for the row that says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mcmahan
import report
from cell import Cell, Found, Result, best_so_far
from drawing import Line, Panel, draw
from experiment import Experiment, Size

ROW = mcmahan.Row("2nn", "iid", 0.1)
RATE = 0.1
ROUNDS: dict[Size, int] = {"smoke": 2, "short": 50, "full": 200}
WAYS: dict[str, dict[str, Any]] = {
    "none": {},
    "zstd": {"zstd": 3},
    "bf16": {"to": "bf16"},
    "fp16": {"to": "fp16"},
    "int8": {"to": "int8"},
    "int8, a scale each row": {"to": "int8", "scale": "channel"},
    "int8, nearest": {"to": "int8", "rounding": "nearest"},
    "top 10 %": {"to": "topk", "share": 0.1},
    "top 1 %": {"to": "topk", "share": 0.01},
    "top 1 %, nothing kept": {"to": "topk", "share": 0.01, "error_feedback": False},
    "top 1 %, zstd": {"to": "topk", "share": 0.01, "zstd": 3},
}


def name_of(way: str, size: Size) -> str:
    return f"{way} rounds={ROUNDS[size]}"


def cells(size: Size, found: Found) -> Sequence[Cell]:
    rounds = ROUNDS[size]
    made = []
    for way, compress in list(WAYS.items())[:: 4 if size == "smoke" else 1]:
        fields = mcmahan.job(ROW, RATE, rounds, 1, tuning=False) | {"update": "delta"}
        if compress:
            fields["compress"] = compress
        made.append(Cell(name_of(way, size), fields, ROW.seconds(rounds)))
    return made


def end_of(result: Result) -> float:
    return best_so_far(result.curves["test accuracy"])[-1][1]


def table(size: Size, found: Found) -> str:
    plain = found.get(name_of("none", size))
    lines = []
    for way in WAYS:
        result = found.get(name_of(way, size))
        if result is None:
            lines.append([way, "not run", "", ""])
            continue
        times = f"{plain.bytes / result.bytes:.1f}" if plain else ""
        lines.append([way, f"{result.bytes / 1e6:,.1f}", times, f"{end_of(result):.2%}"])
    return report.table(("", "MB of updates", "times smaller", f"best of {ROUNDS[size]} rounds"), lines)


def picture(size: Size, found: Found, path: Path) -> None:
    lines = []
    for color, way in enumerate(WAYS):
        if (result := found.get(name_of(way, size))) is not None:
            curve = best_so_far(result.curves["test accuracy"])
            each = result.bytes / 1e6 / curve[-1][0]
            lines.append(Line(way, [each * n for n, _ in curve], [a for _, a in curve], color))
    draw(path, [Panel("2NN, IID, C=0.1", lines)], "MB of updates", "test accuracy, best so far", log_x=True)


EXPERIMENT = Experiment("compression", "Bytes against accuracy of each compression", cells, table, picture)
