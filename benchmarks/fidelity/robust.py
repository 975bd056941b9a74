"""Robust reducers under attack: 20 clients, 4 or 8 of them attackers, MNIST with the 2NN, each client 300 images.

Attacks: labels flipped, signs flipped, Gaussian noise, and A Little Is Enough (Baruch et al. 2019). All clients take
part in each round, unweighted. No figure of a paper stands beside these: the papers' settings differ among each other;
what they promise is that the reducer holds where the average falls. Bulyan needs n >= 4f + 3, so f = 4 at most here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import report
from cell import TASKS, Cell, Found, Result
from drawing import Line, Panel, draw
from experiment import Experiment, Size

CLIENTS = 20
ATTACKS = ("none", "label", "sign", "gaussian", "alie")
NAMES = {
    "none": "no attack",
    "label": "labels flipped",
    "sign": "signs flipped",
    "gaussian": "Gaussian",
    "alie": "ALIE",
}
FS = (4, 8)
RADIUS = 0.35  # of the clippings: honest changes here have norms of .2 in round 1, .5 in round 8 and .4 in round 12
REDUCERS: dict[str, dict[str, Any]] = {
    "average": {"name": "average"},
    "median": {"name": "median"},
    "trimmed-mean": {"name": "trimmed-mean", "f": True},
    "krum": {"name": "krum", "f": True},
    "multi-krum": {"name": "multi-krum", "f": True},
    "bulyan": {"name": "bulyan", "f": True},
    "geometric-median": {"name": "geometric-median"},
    "centered-clipping": {"name": "centered-clipping", "radius": RADIUS},
    "norm-clipping": {"name": "norm-clipping", "radius": RADIUS},
    "nnm + trimmed-mean": {"name": "trimmed-mean", "f": True, "before": "nnm"},
}
ROUNDS: dict[Size, int] = {"smoke": 2, "short": 25, "full": 100}
CLIENT_SECONDS = 0.015


def possible(reducer: str, f: int) -> bool:
    return reducer != "bulyan" or 4 * f + 3 <= CLIENTS


def job(reducer: str, attack: str, f: int, rounds: int, seed: int) -> dict[str, Any]:
    chosen = {key: f if key == "f" else value for key, value in REDUCERS[reducer].items()}
    return {
        "task": str(TASKS / "attackers.py"),
        "clients": CLIENTS,
        "rounds": rounds,
        "quorum": "100%",
        "deadline": "10m",
        "seed": seed,
        "params": {"attack": attack, "f": f, "attack_seed": seed},
        "data": {"attack": attack, "f": f},
        "train": {"batch_size": 30, "lr": 0.1},
        "reducer": chosen,
        "strategy": {"name": "fedavg", "weighting": "uniform"},
        # Held out: of the 10,000. No checkpoint is chosen among: the last one counts.
        "evaluate": {"every": max(1, rounds // 10), "clients": 0, "share": 0.0},
    }


def name_of(reducer: str, attack: str, f: int, size: Size) -> str:
    return f"{reducer} {attack} f={f} rounds={ROUNDS[size]}"


def cells(size: Size, found: Found) -> Sequence[Cell]:
    rounds = ROUNDS[size]
    fs: tuple[int, ...] = FS
    reducers = list(REDUCERS)
    if size == "smoke":
        fs, reducers = (4,), ["average", "krum"]
    cost = 3 + rounds * (0.1 + CLIENTS * CLIENT_SECONDS)
    return [
        Cell(name_of(reducer, attack, f, size), job(reducer, attack, f, rounds, 1), cost, ends=("done", "pause"))
        for f in fs
        for attack in ATTACKS
        for reducer in reducers
        if possible(reducer, f) and (attack != "none" or f == fs[0])
    ]


def table(size: Size, found: Found) -> str:
    lines = []
    for reducer in REDUCERS:
        row = [reducer]
        for f, attack in [(4, "none"), *((f, attack) for f in FS for attack in ATTACKS[1:])]:
            result = found.get(name_of(reducer, attack, f, size))
            missing = "not run" if possible(reducer, f) else "n < 4f + 3"
            row.append(_shown(result) if result else missing)
        lines.append(row)
    heads = [f"{NAMES[attack]}, f = {f}" for f in FS for attack in ATTACKS[1:]]
    return report.table(("reducer", "no attack", *heads), lines)


def _shown(result: Result) -> str:
    """A job whose model grew until every loss is NaN pauses, as no client can train it any more."""
    last, accuracy = result.curves["test accuracy"][-1]
    return f"{accuracy:.1%}" + (f", diverged after round {last}" if result.ended == "pause" else "")


def picture(size: Size, found: Found, path: Path) -> None:
    panels = []
    for f in FS:
        for attack in ATTACKS[1:]:
            lines = []
            for color, reducer in enumerate(REDUCERS):
                if (result := found.get(name_of(reducer, attack, f, size))) is not None:
                    curve = result.curves["test accuracy"]
                    lines.append(Line(reducer, [n for n, _ in curve], [a for _, a in curve], color))
            if lines:
                panels.append(Panel(f"{NAMES[attack]}, {f} of {CLIENTS}", lines, y_limits=(0, 1)))
    if panels:
        draw(path, panels, "round", "test accuracy")


EXPERIMENT = Experiment("robust", "Robust reducers, 20 clients, f = 4 and 8 attackers", cells, table, picture)
