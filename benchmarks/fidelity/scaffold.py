"""SCAFFOLD (Karimireddy et al. 2020), section 7: rounds to an accuracy, where every client has one class.

As there: 100 clients, 20 asked in a round, logistic regression, sorted by label (0 % similarity), five batches an
epoch, and the number of local epochs grows. Theirs is EMNIST with 62 classes and a target of 50 %; here it is MNIST
and 85 %, so the order and the trend compare, not the rounds. Theirs: more local work makes FedAvg slower, and SCAFFOLD
stays ahead. The rate is chosen among four for each cell after as many rounds, on validation shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import report
from cell import TASKS, Cell, Found, best_so_far, crossing
from drawing import Line, Panel, draw
from experiment import Experiment, Size

from warren.aggregator.strategies.options import STRATEGIES

CLIENTS, SELECTED = 100, 20
METHODS = ("fedavg", "scaffold")
EPOCHS: dict[Size, tuple[int, ...]] = {"smoke": (1,), "short": (1, 10), "full": (1, 5, 10, 20)}
RATES = (0.01, 0.05, 0.25, 1.0)
TARGET = 0.85
ROUNDS: dict[Size, int] = {"smoke": 2, "short": 150, "full": 600}
TUNING_ROUNDS: dict[Size, int] = {"smoke": 1, "short": 30, "full": 60}
STEP_SECONDS, CLIENT_SECONDS = 0.0006, 0.015


def job(method: str, epochs: int, rate: float, rounds: int, seed: int, *, tuning: bool) -> dict[str, Any]:
    looked = {"every": rounds, "clients": CLIENTS, "share": 0.1, "held_out": False}
    return {
        "task": str(TASKS / "linear.py"),
        "clients": CLIENTS,
        "fraction": SELECTED / CLIENTS,
        "rounds": rounds,
        "quorum": "100%",
        "deadline": "10m",
        "seed": seed,
        "data": {"partition": "shards", "per_client": 1},
        "train": {"epochs": epochs, "batch_size": 108 if tuning else 120, "lr": rate},
        "strategy": {"name": method, "weighting": "uniform"},
        "evaluate": looked if tuning else {"every": 2, "clients": 0, "share": 0.0},
    }


def seconds(epochs: int, rounds: int) -> float:
    return 5 + rounds * (0.15 + SELECTED * (CLIENT_SECONDS + 5 * epochs * STEP_SECONDS))


def tuning_cells(method: str, epochs: int, size: Size) -> list[Cell]:
    rounds = TUNING_ROUNDS[size]
    return [
        Cell(
            f"{method} E={epochs} tuning lr={rate:g} rounds={rounds}",
            job(method, epochs, rate, rounds, 0, tuning=True),
            seconds(epochs, rounds),
        )
        for rate in RATES[: 1 if size == "smoke" else None]
    ]


def chosen_rate(method: str, epochs: int, size: Size, found: Found) -> float | None:
    tried = tuning_cells(method, epochs, size)
    if any(cell.name not in found for cell in tried):
        return None
    best = max(tried, key=lambda cell: found[cell.name].last("validation accuracy"))
    return float(best.job["train"]["lr"])


def final_cell(method: str, epochs: int, size: Size, found: Found) -> Cell:
    rate, rounds = chosen_rate(method, epochs, size, found), ROUNDS[size]
    fields = job(method, epochs, rate or RATES[0], rounds, 1, tuning=False)
    name = f"{method} E={epochs} rounds={rounds}"
    return Cell(name, fields, seconds(epochs, rounds), target=TARGET, ready=rate is not None)


def cells(size: Size, found: Found) -> Sequence[Cell]:
    assert "scaffold" in STRATEGIES
    return [
        cell
        for epochs in EPOCHS[size]
        for method in METHODS
        for cell in (*tuning_cells(method, epochs, size), final_cell(method, epochs, size, found))
    ]


def table(size: Size, found: Found) -> str:
    lines = []
    for epochs in EPOCHS["full"]:
        row = [str(epochs)]
        for method in METHODS:
            rate = chosen_rate(method, epochs, size, found)
            result = found.get(final_cell(method, epochs, size, found).name)
            if result is None or rate is None:
                row += ["not run", ""]
                continue
            curve = result.curves["test accuracy"]
            at = crossing(curve, TARGET)
            best = best_so_far(curve)[-1][1]
            row += [f"{at:.0f}" if at is not None else f"not in {curve[-1][0]} ({best:.1%})", f"{rate:g}"]
        lines.append(row)
    heads = [f"{method}: {what}" for method in METHODS for what in ("rounds to 85 %", "lr")]
    return report.table(("local epochs", *heads), lines)


def picture(size: Size, found: Found, path: Path) -> None:
    lines = []
    for color, epochs in enumerate(EPOCHS["full"]):
        for method in METHODS:
            if (result := found.get(final_cell(method, epochs, size, found).name)) is not None:
                curve = result.curves["test accuracy"]
                x, y = [n for n, _ in curve], [a for _, a in curve]
                lines.append(Line(f"{method}, E={epochs}", x, y, color, dashed=method == "fedavg"))
    draw(path, [Panel("MNIST, one class a client", lines, level=TARGET)], "round", "test accuracy")


EXPERIMENT = Experiment(
    "scaffold", "SCAFFOLD (Karimireddy et al. 2020), section 7: one class a client", cells, table, picture
)
