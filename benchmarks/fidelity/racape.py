"""Racape et al.: experiments E1 to E3, by the accuracy of the global model.

E1: 1, 2, 4, 8 workers, two rounds. E2: 44 workers, ten rounds. E3: 44 workers, a quorum of 75 %, and 0, 4, 8, 12 or
14 of them killed in round 2: with 14 killed, 30 of the 33 that are needed are left, and theirs stalls. What they
leave open is chosen here: the 2NN, SGD 0.1, B = 32, five epochs a round, IID. A kill is a SIGKILL of the process that
trains. With 14 killed Warren pauses the job, and says why; with a quorum of 60 % it goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import report
from cell import TASKS, Cell, Found
from drawing import Line, Panel, draw
from experiment import Experiment, Size

E1 = {1: 97.99, 2: 97.39, 4: 96.94, 8: 95.03}
MANY = 44
E2 = (82.7, 95.7)
KILLED = (0, 4, 8, 12, 14)
STEP_SECONDS = 0.0009
IMAGES, BATCH, EPOCHS = 60_000, 32, 5


def job(workers: int, rounds: int, *, quorum: str = "100%", killed: int = 0, epochs: int = EPOCHS) -> dict[str, Any]:
    return {
        "task": str(TASKS / "workers.py"),
        "clients": workers,
        "rounds": rounds,
        "quorum": quorum,
        "below_quorum": "pause",
        "deadline": "10m",
        "seed": 1,
        "params": {"killed": killed},
        "train": {"epochs": epochs, "batch_size": BATCH, "lr": 0.1},
        "evaluate": {"every": 1, "clients": 0, "share": 0.0},
    }


def seconds(rounds: int, workers: int = 1, epochs: int = EPOCHS) -> float:
    return 5 + rounds * (epochs * IMAGES / BATCH * STEP_SECONDS + workers * 0.02)


def e1_name(workers: int) -> str:
    return f"E1 {workers} workers"


def e3_rounds(size: Size) -> int:
    """Two rounds after the kills show whether it goes on; ten, how it ends."""
    return 10 if size == "full" else 3


def e3_name(killed: int, size: Size, quorum: str = "75%") -> str:
    return f"E3 {killed} killed, quorum {quorum}, {e3_rounds(size)} rounds"


def cells(size: Size, found: Found) -> Sequence[Cell]:
    if size == "smoke":
        fields = job(MANY, 2, quorum="75%", killed=14, epochs=1)
        return [Cell("E3 smoke", fields, seconds(2, MANY, 1), ends=("pause",))]
    first = [Cell(e1_name(n), job(n, 2), seconds(2, n)) for n in E1]
    second = [Cell("E2", job(MANY, 10), seconds(10, MANY))]
    rounds = e3_rounds(size)
    third = [
        Cell(
            e3_name(killed, size),
            job(MANY, rounds, quorum="75%", killed=killed),
            seconds(rounds, MANY) + killed * rounds,
            ends=("done", "pause"),
        )
        for killed in KILLED
    ]
    third.append(Cell(e3_name(14, size, "60%"), job(MANY, rounds, quorum="60%", killed=14), seconds(rounds, MANY)))
    return [*first, *second, *third]


def table(size: Size, found: Found) -> str:
    lines = []
    for workers, paper in E1.items():
        result = found.get(e1_name(workers))
        ours = f"{result.last('test accuracy'):.2%}" if result else "not run"
        lines.append([f"E1, {workers} workers, after round 2", ours, f"{paper:.2f}%"])
    second = found.get("E2")
    ours = "not run"
    if second:
        curve = second.curves["test accuracy"]
        ours = f"{curve[0][1]:.1%} to {curve[-1][1]:.1%}"
    lines.append([f"E2, {MANY} workers, rounds 1 to 10", ours, f"{E2[0]}% to {E2[1]}%"])
    for killed, quorum in [*((killed, "75%") for killed in KILLED), (14, "60%")]:
        name = e3_name(killed, size, quorum)
        theirs = ("stalls" if killed == 14 else "goes on") if quorum == "75%" else ""
        lines.append([name.replace("E3 ", "E3, "), _ended(found, name), theirs])
    return report.table(("", "Warren, global model", "Racape et al."), lines)


def _ended(found: Found, name: str) -> str:
    result = found.get(name)
    if result is None:
        return "not run"
    curve = result.curves["test accuracy"]
    if result.ended == "pause":
        counts = result.reason.partition(";")[0]  # then follows why each client failed
        return f"pauses in round {curve[-1][0] + 1}: {counts}"
    return f"goes on: {curve[-1][1]:.1%} after round {curve[-1][0]}"


def picture(size: Size, found: Found, path: Path) -> None:
    lines = []
    names = [*(e1_name(n) for n in E1), "E2", *(e3_name(killed, size) for killed in KILLED)]
    for color, name in enumerate(names):
        if name in found:
            curve = found[name].curves["test accuracy"]
            lines.append(Line(name, [n for n, _ in curve], [a for _, a in curve], color, dashed=name.startswith("E3")))
    draw(path, [Panel("MNIST, 2NN, IID", lines)], "round", "test accuracy of the global model")


EXPERIMENT = Experiment("racape", "Racape et al.: E1 to E3", cells, table, picture)
