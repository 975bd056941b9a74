"""FedProx (Li, Sahu et al. 2020), figure 1: synthetic data, 0, 50 and 90 % stragglers.

30 clients, 10 asked in a round, E = 20, B = 10, SGD 0.01, multinomial logistic regression; alpha and beta are
standard deviations as in the authors' code. FedAvg drops the stragglers; FedProx takes what they have, with mu = 0
and with mu = 1 (the authors' best on Synthetic(1, 1)). The paper gives curves of 200 rounds, and one figure: with
90 % stragglers FedProx is 22 points of test accuracy above FedAvg, on average over its data sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import report
from cell import TASKS, Cell, Found
from drawing import Line, Panel, draw
from experiment import Experiment, Size

CLIENTS, SELECTED = 30, 10
LEVELS = (0.0, 0.5, 1.0)  # alpha = beta
SHARES = (0.0, 0.5, 0.9)
METHODS = {"FedAvg": (0.0, True), "FedProx mu=0": (0.0, False), "FedProx mu=1": (1.0, False)}
ROUNDS: dict[Size, int] = {"smoke": 2, "short": 50, "full": 200}
CLIENT_SECONDS = 0.15  # of E = 20 over some 400 examples, two quiet cores
LAST = 10  # rounds over which the end of a curve is averaged: one round's accuracy swings by several points


def job(level: float, share: float, method: str, rounds: int, seed: int) -> dict[str, Any]:
    mu, drop = METHODS[method]
    return {
        "task": str(TASKS / "stragglers.py"),
        "clients": CLIENTS,
        "fraction": SELECTED / CLIENTS,
        "rounds": rounds,
        "quorum": 1,
        "deadline": "10m",
        "seed": seed,
        "params": {
            "stragglers": share,
            "drop": drop,
            "clients": CLIENTS,
            "selected": SELECTED,
            "job_seed": seed,
        },
        "data": {"alpha": level, "beta": level},
        "train": {"epochs": 2 if rounds < LAST else 20, "batch_size": 10, "lr": 0.01, "mu": mu},
        "evaluate": {"every": 1, "clients": 0, "share": 0.0},
    }


def name_of(level: float, share: float, method: str, size: Size) -> str:
    return f"synthetic({level:g},{level:g}) {share:.0%} {method} rounds={ROUNDS[size]}"


def seconds(share: float, method: str, rounds: int) -> float:
    work = 1 - share if METHODS[method][1] else 1 - share / 2
    return 5 + rounds * (0.1 + SELECTED * CLIENT_SECONDS * work)


def cells(size: Size, found: Found) -> Sequence[Cell]:
    """Without stragglers FedAvg is FedProx with mu = 0: one cell for both."""
    rounds = ROUNDS[size]
    levels, shares = (LEVELS[-1:], SHARES[-1:]) if size == "smoke" else (LEVELS, SHARES)
    return [
        Cell(name_of(level, share, method, size), job(level, share, method, rounds, 1), seconds(share, method, rounds))
        for level in reversed(levels)
        for share in reversed(shares)
        for method in METHODS
        if share or method != "FedProx mu=0"
    ]


def end_of(found: Found, name: str) -> float | None:
    """The mean accuracy of the last rounds."""
    if name not in found:
        return None
    last = [value for _, value in found[name].curves["test accuracy"][-LAST:]]
    return sum(last) / len(last)


def table(size: Size, found: Found) -> str:
    lines = []
    for level in LEVELS:
        for share in SHARES:
            ends = {}
            for method in METHODS:
                standing = "FedAvg" if method == "FedProx mu=0" and not share else method
                ends[method] = end_of(found, name_of(level, share, standing, size))
            if all(value is None for value in ends.values()):
                continue
            shown = ["not run" if value is None else f"{value:.1%}" for value in ends.values()]
            best, base = ends["FedProx mu=1"], ends["FedAvg"]
            gain = "" if best is None or base is None else f"{100 * (best - base):+.1f}"
            lines.append([f"({level:g}, {level:g})", f"{share:.0%}", *shown, gain])
    return report.table(("alpha, beta", "stragglers", *METHODS, "mu = 1 less FedAvg, points"), lines)


def picture(size: Size, found: Found, path: Path) -> None:
    panels = []
    for share in SHARES:
        for level in LEVELS:
            lines = []
            for color, method in enumerate(METHODS):
                name = name_of(level, share, method, size)
                if name in found:
                    curve = found[name].curves["test accuracy"]
                    lines.append(Line(method, [n for n, _ in curve], [a for _, a in curve], color))
            if lines:
                panels.append(Panel(f"Synthetic({level:g}, {level:g}), {share:.0%} stragglers", lines))
    if panels:
        draw(path, panels, "round", "test accuracy")


EXPERIMENT = Experiment(
    "fedprox",
    "FedProx (Li, Sahu et al. 2020), figure 1: stragglers on synthetic data",
    cells,
    table,
    picture,
    needs_mnist=False,
)
