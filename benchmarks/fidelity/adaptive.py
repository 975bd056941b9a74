"""Adaptive server optimizers where gradients are sparse: Reddi et al. 2021, as on Stack Overflow's tags.

100 clients with 60 documents of few topics, 10 asked in a round, one epoch, B = 10. Their data set can't be had here:
documents are drawn (tasks/words.py), so only the order is comparable. Each method has six settings to be tuned over,
after as many rounds, on validation shares; the one chosen runs again with another seed, its checkpoint is chosen on
validation data, and the test documents are read once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import report
from cell import TASKS, Cell, Found, at_best_validation
from drawing import Line, Panel, draw
from experiment import Experiment, Size

CLIENTS, SELECTED = 100, 10
JUDGES = 50  # clients whose validation shares, six documents each, judge a checkpoint
Setting = tuple[float, float]  # the client's rate, the server's
METHODS: dict[str, list[Setting]] = {
    "fedavg": [(rate, 1.0) for rate in (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)],
    "fedavgm": [(rate, eta) for rate in (0.1, 0.3, 1.0) for eta in (0.3, 1.0)],
    "fedadagrad": [(rate, eta) for rate in (0.3, 1.0, 3.0) for eta in (0.1, 0.3)],
    "fedadam": [(rate, eta) for rate in (0.3, 1.0, 3.0) for eta in (0.03, 0.1)],
    "fedyogi": [(rate, eta) for rate in (0.3, 1.0, 3.0) for eta in (0.03, 0.1)],
}
ROUNDS: dict[Size, int] = {"smoke": 3, "short": 60, "full": 300}
TUNING_ROUNDS: dict[Size, int] = {"smoke": 2, "short": 40, "full": 150}
ROUND_SECONDS = 0.4


def job(method: str, setting: Setting, rounds: int, seed: int, *, tuning: bool) -> dict[str, Any]:
    rate, eta = setting
    return {
        "task": str(TASKS / "words.py"),
        "clients": CLIENTS,
        "fraction": SELECTED / CLIENTS,
        "rounds": rounds,
        "quorum": "100%",
        "deadline": "5m",
        "seed": seed,
        "train": {"batch_size": 10, "lr": rate},
        "strategy": {"name": method} if method == "fedavg" else {"name": method, "lr": eta},
        "evaluate": {
            "every": rounds if tuning else max(1, rounds // 10),
            "clients": JUDGES,
            "share": 0.1,
            "held_out": not tuning,
        },
    }


def tuning_cells(method: str, size: Size) -> list[Cell]:
    rounds = TUNING_ROUNDS[size]
    settings = METHODS[method][: 1 if size == "smoke" else None]
    return [
        Cell(
            f"{method} tuning lr={setting[0]:g} server={setting[1]:g} rounds={rounds}",
            job(method, setting, rounds, 0, tuning=True),
            5 + rounds * ROUND_SECONDS,
        )
        for setting in settings
    ]


def chosen(method: str, size: Size, found: Found) -> Setting | None:
    scores = {}
    for setting, cell in zip(METHODS[method], tuning_cells(method, size), strict=False):
        if cell.name not in found:
            return None
        scores[setting] = found[cell.name].last("validation accuracy")
    return max(scores, key=lambda setting: scores[setting])


def final_cell(method: str, size: Size, found: Found) -> Cell:
    setting, rounds = chosen(method, size, found), ROUNDS[size]
    fields = job(method, setting or METHODS[method][0], rounds, 1, tuning=False)
    return Cell(f"{method} rounds={rounds}", fields, 8 + rounds * ROUND_SECONDS, ready=setting is not None)


def cells(size: Size, found: Found) -> Sequence[Cell]:
    methods = ["fedavg", "fedadam"] if size == "smoke" else list(METHODS)
    return [cell for m in methods for cell in (*tuning_cells(m, size), final_cell(m, size, found))]


def table(size: Size, found: Found) -> str:
    lines = []
    for method in METHODS:
        setting, result = chosen(method, size, found), found.get(final_cell(method, size, found).name)
        if setting is None or result is None:
            lines.append([method, "", "", "not run", ""])
            continue
        number, accuracy = at_best_validation(result)
        server = "1" if method == "fedavg" else f"{setting[1]:g}"
        lines.append([method, f"{setting[0]:g}", server, f"{accuracy:.1%}", str(number)])
    return report.table(("strategy", "client's rate", "server's rate", "test accuracy", "of round"), lines)


def picture(size: Size, found: Found, path: Path) -> None:
    lines = []
    for color, method in enumerate(METHODS):
        if (result := found.get(final_cell(method, size, found).name)) is not None:
            curve = result.curves["validation accuracy"]
            lines.append(Line(method, [n for n, _ in curve], [a for _, a in curve], color))
    draw(path, [Panel("bags of words, 20 topics", lines)], "round", "validation accuracy")


EXPERIMENT = Experiment(
    "adaptive",
    "FedAdagrad, FedAdam, FedYogi (Reddi et al. 2021) beside FedAvg where gradients are sparse",
    cells,
    table,
    picture,
    needs_mnist=False,
)
