"""A cell of a table: one job of Warren's, what it costs, and what came of it. Data only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TASKS = Path(__file__).with_name("tasks")

Curve = list[tuple[int, float]]  # (round, value), rounds ascending


@dataclass(frozen=True, slots=True)
class Cell:
    """One job to run.

    Attributes:
        name: unique within its experiment.
        job: the job file's fields.
        seconds: about how long it takes on two quiet cores with one trainer.
        target: the run ends when the accuracy on held-out data has reached it; None: after all rounds.
        ready: False while the job still depends on the result of another cell (a rate that is being chosen).
        ends: how the job may end: "done"; "pause" where that is the result.
    """

    name: str
    job: Mapping[str, Any]
    seconds: float
    target: float | None = None
    ready: bool = True
    ends: tuple[str, ...] = ("done",)

    @property
    def digest(self) -> str:
        """Of all that the result follows from on our side: a cell whose digest changed is run again."""
        task = str(self.job["task"])
        source = Path(task).read_text() if task.endswith(".py") else ""
        named = {**self.job, "task": Path(task).name}
        text = json.dumps([named, self.target, source], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(slots=True)
class Result:
    """What came of a cell.

    Attributes:
        curves: round by round, by place and metric: "test accuracy", "validation accuracy", "training loss"; and
            "seconds", when each round was frozen.
        bytes: of all updates that counted.
        ended: the job's last command, or "target" where the run was ended at its target.
    """

    digest: str
    curves: dict[str, Curve] = field(default_factory=dict)
    ended: str = ""
    reason: str = ""
    bytes: int = 0
    seconds: float = 0.0
    lost: int = 0  # clients that failed or were rejected, of all rounds

    def last(self, curve: str) -> float:
        return self.curves[curve][-1][1]

    def as_fields(self) -> dict[str, Any]:
        curves = {name: [[n, round(value, 5)] for n, value in curve] for name, curve in self.curves.items()}
        return {
            "digest": self.digest,
            "ended": self.ended,
            "reason": self.reason,
            "seconds": round(self.seconds, 1),
            "bytes": self.bytes,
            "lost": self.lost,
            "curves": curves,
        }

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Result:
        curves = {name: [(int(n), float(v)) for n, v in curve] for name, curve in fields["curves"].items()}
        return cls(**{**fields, "curves": curves})


Found = Mapping[str, Result]  # by the cell's name


def crossing(curve: Sequence[tuple[float, float]], target: float) -> float | None:
    """Where the curve, made monotone (the best so far), crosses the target, between rounds by interpolation.

    McMahan et al. 2017, section 3. Before its first point the curve is taken to be 0 at round 0. None: it does not.
    """
    before, best = 0.0, 0.0
    for number, value in curve:
        if value >= target:
            return before + (number - before) * (target - best) / (value - best)
        if value > best:
            best = value
        before = number
    return None


def best_so_far(curve: Sequence[tuple[int, float]]) -> Curve:
    best, made = 0.0, []
    for number, value in curve:
        best = max(best, value)
        made.append((number, best))
    return made


def at_best_validation(result: Result, metric: str = "accuracy") -> tuple[int, float]:
    """(round, the value on test data) of the checkpoint that was best on validation data: the test is read once."""
    test = dict(result.curves[f"test {metric}"])  # an evaluation that was late lacks what had not come
    validation = [point for point in result.curves[f"validation {metric}"] if point[0] in test]
    chosen = max(validation, key=lambda point: (point[1], -point[0]))[0]
    return chosen, test[chosen]
