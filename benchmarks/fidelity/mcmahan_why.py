"""Why the 2NN needs fewer rounds here than in McMahan et al. 2017 (IID, C = 0.1, 87 rounds): one thing at a time.

The paper names neither the rate behind a figure, nor the initial weights, nor the scale of the pixels. Each is
varied beside the setting of the table (torch's own weights, pixels from 0 to 1), the same seed and partition.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mcmahan
import report
from cell import TASKS, Cell, Found, best_so_far, crossing
from drawing import Line, Panel, draw
from experiment import Experiment, Size

ROW = mcmahan.Row("2nn", "iid", 0.1)
SETTINGS: list[tuple[str, str, float]] = [
    *(("torch", "unit", rate) for rate in (0.2, 0.1, 0.05, 0.025)),
    ("truncated", "unit", 0.1),
    ("glorot", "unit", 0.1),
    ("torch", "centred", 0.2),
    ("torch", "centred", 0.1),
    ("torch", "standard", 0.1),
    ("torch", "standard", 0.05),
]
INITS = {"torch": "torch's", "glorot": "Glorot uniform", "truncated": "truncated normal, 0.1"}
SCALES = {"unit": "0 to 1", "centred": "-0.5 to 0.5", "standard": "mean 0, variance 1"}


def name_of(setting: tuple[str, str, float]) -> str:
    init, scale, rate = setting
    return f"init={init} scale={scale} lr={rate:g}"


def cells(size: Size, found: Found) -> Sequence[Cell]:
    rounds = 2 if size == "smoke" else 130
    made = []
    for setting in SETTINGS[:1] if size == "smoke" else SETTINGS:
        init, scale, rate = setting
        job = mcmahan.job(ROW, rate, rounds, 1, tuning=False)
        job |= {"task": str(TASKS / "mnist_variants.py"), "params": {"init": init, "scale": scale}}
        made.append(Cell(name_of(setting), job, ROW.seconds(min(rounds, 80)), target=0.97))
    return made


def table(size: Size, found: Found) -> str:
    lines = []
    for setting in SETTINGS:
        if (result := found.get(name_of(setting))) is not None:
            at = crossing(result.curves["test accuracy"], 0.97)
            init, scale, rate = setting
            shown = f"{at:.0f}" if at is not None else f"not in {result.curves['test accuracy'][-1][0]}"
            lines.append([INITS[init], SCALES[scale], f"{rate:g}", shown])
    return report.table(("initial weights", "pixels", "rate", "rounds to 97 % (paper: 87)"), lines)


def picture(size: Size, found: Found, path: Path) -> None:
    lines = []
    for color, setting in enumerate(SETTINGS):
        if (result := found.get(name_of(setting))) is not None:
            curve = best_so_far(result.curves["test accuracy"])
            lines.append(Line(name_of(setting), [n for n, _ in curve], [a for _, a in curve], color))
    panel = Panel("2NN, IID, C=0.1", lines, marks=[(ROW.paper, "paper: 87")], level=0.97, y_limits=(0.9, 0.98))
    draw(path, [panel], "round", "test accuracy, best so far")


EXPERIMENT = Experiment(
    "mcmahan_why", "McMahan et al. 2017, 2NN, IID, C = 0.1: what moves the rounds to 97 %", cells, table, picture
)
