"""McMahan et al. 2017, table 1: rounds until the 2NN (97 %) and the CNN (99 %) classify MNIST.

100 clients of 600 images, B = 10; the 2NN with E = 1, the CNN with E = 5. IID, or two shards of 300 images of one
class each. The rate is chosen on validation shares (a tenth of each client's images) after equally many rounds for
each; C = 0.2, 0.5 and 1 take the rate of C = 0.1. Then all 600 images train, and the curve on the test images is
read as in the paper: made monotone, the crossing interpolated between rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import report
from cell import Cell, Found, best_so_far, crossing
from drawing import Line, Panel, draw
from experiment import Experiment, Size

CLIENTS = 100
RATES = (0.05, 0.1, 0.2, 0.4)
SEEDS = (1, 2, 3)
TARGETS = {"2nn": 0.97, "cnn": 0.99}
EPOCHS = {"2nn": 1, "cnn": 5}
PAPER = {
    ("2nn", "iid"): {0.0: 316, 0.1: 87, 0.2: 77, 0.5: 75, 1.0: 70},
    ("2nn", "shards"): {0.0: 3275, 0.1: 664, 0.2: 619, 0.5: 443, 1.0: 380},
    ("cnn", "iid"): {0.1: 18},
    ("cnn", "shards"): {0.1: 206},
}
TUNING_ROUNDS = {
    ("2nn", "iid"): {0.0: 100, 0.1: 30},
    ("2nn", "shards"): {0.0: 500, 0.1: 100},
    ("cnn", "iid"): {0.1: 5},
    ("cnn", "shards"): {0.1: 40},
}
CLIENT_SECONDS = {"2nn": 0.06, "cnn": 8.0}  # of one client in one round, two quiet cores
ROUND_SECONDS = 0.15
BUDGET = 1.5  # times the paper's rounds; then "not reached"


@dataclass(frozen=True, slots=True)
class Row:
    """One entry of the paper's table."""

    model: str
    split: str
    fraction: float

    @property
    def paper(self) -> int:
        return PAPER[self.model, self.split][self.fraction]

    @property
    def tuned_as(self) -> Row:
        return self if self.fraction in TUNING_ROUNDS[self.model, self.split] else Row(self.model, self.split, 0.1)

    @property
    def label(self) -> str:
        return f"{self.model} {self.split} C={self.fraction:g}"

    @property
    def selected(self) -> int:
        return max(1, round(CLIENTS * self.fraction))

    def seconds(self, rounds: int) -> float:
        return 5 + rounds * (ROUND_SECONDS + self.selected * CLIENT_SECONDS[self.model])


def rows(size: Size) -> list[Row]:
    every = [Row(model, split, c) for (model, split), fractions in PAPER.items() for c in fractions]
    if size == "full":
        return every
    affordable = [row for row in every if row.seconds(row.paper) < 150]
    return affordable if size == "short" else [Row("2nn", "iid", 0.1)]


def job(row: Row, rate: float, rounds: int, seed: int, *, tuning: bool) -> dict[str, Any]:
    """Tuning keeps a tenth of each client's images for validation, and does not look at the test images."""
    each = rounds if tuning else 1 if row.paper < 400 else 4
    looked = {"every": each, "clients": CLIENTS, "share": 0.1, "held_out": False}
    final = {"every": each, "clients": 0, "share": 0.0}
    return {
        "task": "mnist",
        "clients": CLIENTS,
        "fraction": max(row.fraction, 1 / CLIENTS),
        "rounds": rounds,
        "quorum": "100%",
        "deadline": "10m",
        "seed": seed,
        "params": {"model": row.model},
        "data": {"partition": row.split},
        "train": {"epochs": EPOCHS[row.model], "batch_size": 10, "lr": rate},
        "evaluate": looked if tuning else final,
    }


def tuning_cells(row: Row, size: Size) -> list[Cell]:
    rounds = 2 if size == "smoke" else TUNING_ROUNDS[row.model, row.split][row.fraction]
    rates = RATES[1:3] if size == "smoke" else RATES
    cost = row.seconds(rounds)
    ends = ("done", "pause")  # a rate too high ends in NaN: the job pauses, the rate is not chosen
    return [Cell(f"{row.label} tuning lr={r:g}", job(row, r, rounds, 0, tuning=True), cost, ends=ends) for r in rates]


def chosen_rate(row: Row, size: Size, found: Found) -> float | None:
    """The rate whose last validation accuracy is the highest; None while one of them was not tried."""
    scores = {}
    for cell in tuning_cells(row.tuned_as, size):
        if cell.name not in found or found[cell.name].digest != cell.digest:
            return None
        result = found[cell.name]
        rate = float(cell.job["train"]["lr"])
        scores[rate] = result.last("validation accuracy") if result.ended != "pause" else 0.0
    return max(scores, key=lambda rate: scores[rate])


def final_cells(row: Row, size: Size, found: Found) -> list[Cell]:
    rate = chosen_rate(row, size, found)
    rounds = 3 if size == "smoke" else int(BUDGET * row.paper)
    many = size == "full" or row.seconds(row.paper) < 60
    seeds = SEEDS[: 3 if many and size != "smoke" and row.model == "2nn" else 1]
    return [
        Cell(
            f"{row.label} seed={seed}",
            job(row, rate or RATES[1], rounds, seed, tuning=False),
            row.seconds(min(rounds, row.paper)),
            target=TARGETS[row.model],
            ready=rate is not None,
        )
        for seed in seeds
    ]


def cells(size: Size, found: Found) -> Sequence[Cell]:
    made: dict[str, Cell] = {}
    for row in rows(size):
        for cell in [*tuning_cells(row.tuned_as, size), *final_cells(row, size, found)]:
            made.setdefault(cell.name, cell)
    return sorted(made.values(), key=lambda cell: cell.seconds)


def crossings(row: Row, size: Size, found: Found) -> list[float | None]:
    target = TARGETS[row.model]
    done = [c.name for c in final_cells(row, size, found) if c.name in found]
    return [crossing(found[name].curves["test accuracy"], target) for name in done]


def rounds_run(row: Row, size: Size, found: Found) -> int:
    done = [found[c.name].curves["test accuracy"] for c in final_cells(row, size, found) if c.name in found]
    return max(curve[-1][0] for curve in done)


def table(size: Size, found: Found) -> str:
    lines = []
    for row in rows("full"):
        got = crossings(row, size, found)
        reached = [value for value in got if value is not None]
        rate = chosen_rate(row, size, found)
        if not got:
            ours, ratio = "not run", ""
        elif len(reached) < len(got):
            ours, ratio = f"not in {rounds_run(row, size, found)}", ""
        else:
            middle = statistics.median(reached)
            ours = f"{middle:.0f}" + (f" ({min(reached):.0f} to {max(reached):.0f})" if len(got) > 1 else "")
            ratio = f"{middle / row.paper:.2f}"
        shown = "" if rate is None else f"{rate:g}"
        split = "2 shards" if row.split == "shards" else "IID"
        lines.append([row.model, split, f"{row.fraction:g}", shown, str(len(got)), ours, str(row.paper), ratio])
    return report.table(("model", "split", "C", "lr", "seeds", "ours, rounds", "paper", "ours / paper"), lines)


def picture(size: Size, found: Found, path: Path) -> None:
    panels = []
    for (model, split), fractions in PAPER.items():
        lines = []
        for color, fraction in enumerate(fractions):
            for cell in final_cells(Row(model, split, fraction), size, found):
                if cell.name in found:
                    curve = best_so_far(found[cell.name].curves["test accuracy"])
                    label = f"C={fraction:g}" if cell.name.endswith("seed=1") else ""
                    lines.append(Line(label or "_", [n for n, _ in curve], [a for _, a in curve], color))
        if lines:
            target = TARGETS[model]
            panels.append(Panel(f"{model}, {split}", lines, level=target, y_limits=(target - 0.1, target + 0.01)))
    if panels:
        draw(path, panels, "round", "test accuracy, best so far", log_x=True)


EXPERIMENT = Experiment(
    "mcmahan", "McMahan et al. 2017, table 1: rounds to 97 % (2NN) and 99 % (CNN)", cells, table, picture
)
