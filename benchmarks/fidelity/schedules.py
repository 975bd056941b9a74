"""Time to accuracy where some clients are slow: rounds that wait for them, beside FedBuff, FedAsync and SSP.

20 clients of 300 MNIST images, the 2NN; 4 of them take ten times as long as the others. Real time on real processes: a
client waits (0.1 or 1 s) before it trains, so ten training processes fit on two cores. Time is from the initial model
to the version whose accuracy on the test images is 90 %, by the store's clock. FedBuff: Nguyen et al. 2022; FedAsync:
Xie, Koyejo, Gupta 2019; SSP: Ho et al. 2013. Their claim is the order, and that it grows with the slowest client.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import report
from cell import TASKS, Cell, Found, Result, best_so_far, crossing
from drawing import Line, Panel, draw
from experiment import Experiment, Size

CLIENTS, SLOW = 20, 4
QUICK_SECONDS, SLOW_SECONDS = 0.1, 1.0
TARGET = 0.9
TRAINERS = 10
# name: (schedule, what else of the job, versions a round of everybody, versions between evaluations)
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any], int, int]] = {
    "synchronous": ({}, {}, 1, 1),
    "synchronous, first 16 of 20": ({}, {"fraction": 0.8, "over_select": 4}, 1, 1),
    "fedbuff, K = 10": ({"kind": "fedbuff", "buffer": 10}, {"update": "delta"}, 2, 2),
    "fedasync, 0.6": ({"kind": "fedasync"}, {}, 20, 20),
    "ssp, S = 0": ({"kind": "ssp", "staleness": 0}, {"update": "delta"}, 1, 1),
    "ssp, S = 4": ({"kind": "ssp", "staleness": 4}, {"update": "delta"}, 20, 20),
}
ROUNDS: dict[Size, int] = {"smoke": 2, "short": 40, "full": 120}
SEEDS: dict[Size, int] = {"smoke": 1, "short": 1, "full": 3}


def job(way: str, rounds: int, seed: int) -> dict[str, Any]:
    schedule, further, versions, between = WAYS[way]
    fields: dict[str, Any] = {
        "task": str(TASKS / "slow_workers.py"),
        "clients": CLIENTS,
        "rounds": rounds * versions,
        "deadline": "2m",
        "seed": seed,
        "params": {"slow": SLOW, "quick_seconds": QUICK_SECONDS, "slow_seconds": SLOW_SECONDS},
        "train": {"batch_size": 10, "lr": 0.1},
        "strategy": {"name": "fedavg", "weighting": "uniform"},
        "evaluate": {"every": between, "clients": 0, "share": 0.0},
    }
    return fields | further | ({"schedule": schedule} if schedule else {"quorum": "100%"})


def name_of(way: str, size: Size, seed: int) -> str:
    return f"{way} rounds={ROUNDS[size]} seed={seed}"


def cells(size: Size, found: Found) -> Sequence[Cell]:
    ways = list(WAYS)[:: 2 if size == "smoke" else 1]
    return [
        Cell(name_of(way, size, seed), job(way, ROUNDS[size], seed), 10 + 1.5 * min(ROUNDS[size], 20), target=TARGET)
        for seed in range(1, 1 + SEEDS[size])
        for way in ways
    ]


def over_time(result: Result) -> list[tuple[float, float]]:
    """(seconds since the initial model, accuracy)."""
    seconds = dict(result.curves["seconds"])
    return [(seconds[number], accuracy) for number, accuracy in result.curves["test accuracy"] if number in seconds]


def table(size: Size, found: Found) -> str:
    lines = []
    for way in WAYS:
        done = [found[n] for s in range(1, 1 + SEEDS[size]) if (n := name_of(way, size, s)) in found]
        if not done:
            lines.append([way, "not run", "", ""])
            continue
        times = [crossing(over_time(result), TARGET) for result in done]
        versions = [crossing(result.curves["test accuracy"], TARGET) for result in done]
        shown = ", ".join("not reached" if at is None else f"{at:.1f}" for at in times)
        counted = ", ".join("" if at is None else f"{at:.0f}" for at in versions)
        lines.append([way, shown, counted, f"{best_so_far(done[0].curves['test accuracy'])[-1][1]:.1%}"])
    return report.table(("schedule", "seconds to 90 %", "versions to 90 %", "best reached"), lines)


def picture(size: Size, found: Found, path: Path) -> None:
    lines = []
    for color, way in enumerate(WAYS):
        if (result := found.get(name_of(way, size, 1))) is not None:
            points = over_time(result)
            lines.append(Line(way, [t for t, _ in points], [a for _, a in points], color))
    title = f"{SLOW} of {CLIENTS} clients take {SLOW_SECONDS / QUICK_SECONDS:.0f} times as long"
    draw(path, [Panel(title, lines, level=TARGET)], "seconds", "test accuracy", log_x=True)


EXPERIMENT = Experiment(
    "schedules",
    "Time to accuracy under stragglers: synchronous, FedBuff, FedAsync, SSP",
    cells,
    table,
    picture,
    trainers=TRAINERS,
)
