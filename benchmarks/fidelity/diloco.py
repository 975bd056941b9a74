"""DiLoCo (Douillard et al. 2023): the loss of a small transformer against the bytes that its workers send.

4 workers, each a stretch of the text. Beside each other after as many steps of each worker: one synchronous AdamW step
per batch, which sends a gradient every step; DiLoCo, which sends every H = 50 steps and takes an outer Nesterov step
(0.7, momentum 0.9, as in the paper); and plain averaging every 50 steps. The inner rate is 0.001 for all. The paper
trains models a thousand times as large (60 to 400 million weights, H = 500, 8 workers); its claim is a loss as good as
the synchronous one's with 500 times less sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import report
from cell import TASKS, Cell, Found, Result
from drawing import Line, Panel, draw
from experiment import Experiment, Size

from warren.aggregator.strategies.options import STRATEGIES

WORKERS, BATCH, RATE = 4, 16, 1e-3
INNER = 50
STEPS: dict[Size, int] = {"smoke": 2, "short": 600, "full": 3000}
STEP_SECONDS = 0.02
KEEPS_MOMENTS = "diloco" in STRATEGIES
OUTER = {"name": "diloco"} if KEEPS_MOMENTS else {"name": "fedavgm", "lr": 0.7, "momentum": 0.9, "nesterov": True}


def base(rounds: int, every: int) -> dict[str, Any]:
    return {
        "task": str(TASKS / "characters.py"),
        "clients": WORKERS,
        "rounds": rounds,
        "quorum": "100%",
        "deadline": "10m",
        "seed": 1,
        "evaluate": {"every": every, "clients": 0, "share": 0.0},
    }


def job(method: str, steps: int, inner: int) -> dict[str, Any]:
    if method == "synchronous":
        fields = base(steps, inner) | {"update": "gradients", "strategy": {"name": "adamw", "lr": RATE}}
        return fields | {"train": {"batch_size": BATCH, "lr": RATE}}
    train = {"steps": inner, "batch_size": BATCH, "optimizer": "adamw", "lr": RATE}
    strategy = OUTER if method == "DiLoCo" else {"name": "fedavg"}
    return base(steps // inner, 1) | {"train": train, "strategy": strategy}


METHODS = ("synchronous", "DiLoCo", "averaging")
LABELS = {} if KEEPS_MOMENTS else {"DiLoCo": "DiLoCo's outer step, fresh AdamW moments each round"}


def name_of(method: str, size: Size) -> str:
    return f"{method} {STEPS[size]} steps"


def cells(size: Size, found: Found) -> Sequence[Cell]:
    steps, inner = STEPS[size], 1 if size == "smoke" else INNER
    made = []
    for method in METHODS:
        cost = 5 + steps * WORKERS * STEP_SECONDS + (steps * 0.15 if method == "synchronous" else 0)
        made.append(Cell(name_of(method, size), job(method, steps, inner), cost))
    return sorted(made, key=lambda cell: cell.seconds)


def table(size: Size, found: Found) -> str:
    lines = []
    for method in METHODS:
        result = found.get(name_of(method, size))
        if result is None:
            lines.append([method, "not run", "", ""])
            continue
        name = LABELS.get(method, method)
        lines.append([name, f"{STEPS[size]:,}", f"{result.bytes / 1e6:,.1f}", f"{result.last('test loss'):.3f}"])
    return report.table(("", "steps of each worker", "MB sent by the workers", "loss on held-out text, nats"), lines)


def picture(size: Size, found: Found, path: Path) -> None:
    lines = []
    for color, method in enumerate(METHODS):
        if (result := found.get(name_of(method, size))) is not None:
            lines.append(Line(method, sent(result), [loss for _, loss in result.curves["test loss"]], color))
    draw(path, [Panel("4 workers, next byte", lines)], "MB sent", "loss on held-out text", log_x=True)


def sent(result: Result) -> list[float]:
    """MB sent by each round that was evaluated: every round sends as much."""
    rounds = result.curves["test loss"][-1][0]
    return [result.bytes / 1e6 * number / rounds for number, _ in result.curves["test loss"]]


EXPERIMENT = Experiment(
    "diloco",
    "DiLoCo (Douillard et al. 2023): loss against bytes sent",
    cells,
    table,
    picture,
    needs_mnist=False,
)
