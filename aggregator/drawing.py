"""The derived files of a job: its numbers as a table, and its pictures; these drawn here, or in a process that ends.

    python -m warren.aggregator.drawing < what is told > the pictures

What draws takes 40 MiB and half a second of Python's lock: a service that leads other jobs, too, has it done apart.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .curves import curves_png
from .results import Outcome, metrics_csv, outcome_of
from .round_trips import lines_of, round_trips_png

if TYPE_CHECKING:  # the process that draws needs no documents, nor what reads them
    from ..storage.documents import Evaluation, Manifest
    from ..storage.job import JobSpec

DRAW_SECONDS = 120.0  # for one job's pictures
PNG = "image/png"

log = logging.getLogger("warren.aggregator")
_one_at_a_time = threading.Lock()  # jobs that end together wait for each other, rather than for memory

Files = dict[str, tuple[bytes, str]]


@dataclass(frozen=True, slots=True)
class _Round:
    """Of a manifest what is drawn."""

    round: int
    metrics: dict[str, float]
    asked: int
    quorum: int
    entries: range  # as many


@dataclass(frozen=True, slots=True)
class _Spread:
    clients: int
    q1: float
    q3: float
    worst_decile: float


@dataclass(frozen=True, slots=True)
class _Evaluated:
    """Of an evaluation what is drawn."""

    round: int
    held_out: dict[str, float]
    validation: dict[str, float]
    spread: dict[str, _Spread]


def draw(spec: JobSpec, manifests: Iterable[Manifest], evaluations: Sequence[Evaluation]) -> Files:
    """All of a job's derived files: name -> (bytes, content type). Of the manifests one is in memory at a time."""
    outcomes = [*map(outcome_of, manifests)]
    return _table(outcomes, evaluations) | _drawn(_told(spec, outcomes, evaluations))


def draw_apart(spec: JobSpec, manifests: Iterable[Manifest], evaluations: Sequence[Evaluation]) -> Files:
    """As `draw`, the pictures made by a process of their own; without them where that fails, which is logged."""
    outcomes = [*map(outcome_of, manifests)]
    files = _table(outcomes, evaluations)
    told = json.dumps(_told(spec, outcomes, evaluations))
    outside = {name: value for name, value in os.environ.items() if not name.startswith("WARREN_")}
    try:
        with _one_at_a_time:
            done = subprocess.run(
                [sys.executable, "-m", __name__],
                input=told,
                env=outside,  # no secrets of ours
                text=True,
                capture_output=True,
                timeout=DRAW_SECONDS,
                check=True,
                start_new_session=True,  # Ctrl-C is for us: a job that has ended still gets its picture
            )
        pictures = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        said = getattr(error, "stderr", None) or str(error)
        log.warning("no pictures: %s", said.strip()[-400:], extra={"job": spec.job})
        return files
    return files | {name: (base64.b64decode(image), PNG) for name, image in pictures.items()}


def _table(outcomes: Sequence[Outcome], evaluations: Sequence[Evaluation]) -> Files:
    return {"metrics.csv": (metrics_csv(outcomes, evaluations), "text/csv")}


def _told(spec: JobSpec, outcomes: Sequence[Outcome], evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """What the pictures show, as JSON holds it."""
    told: dict[str, Any] = {
        "title": spec.job,
        "metric": "" if not spec.evaluate.every else spec.evaluate.best,
        "asynchronous": spec.schedule.asynchronous,
        "rounds": [(one.round, one.metrics, one.asked, one.quorum, one.valid) for one in outcomes],
        "evaluations": [(e.round, e.held_out, e.validation, _spreads(e)) for e in evaluations],
    }
    if spec.balance.balances:
        told["round_trips"] = {"lines": lines_of(outcomes), "target": spec.balance.target * spec.deadline_seconds}
    return told


def _spreads(evaluation: Evaluation) -> dict[str, tuple[int, float, float, float]]:
    return {name: (s.clients, s.q1, s.q3, s.worst_decile) for name, s in evaluation.spread.items()}


def _drawn(told: Mapping[str, Any]) -> Files:
    rounds = [_Round(number, metrics, asked, quorum, range(n)) for number, metrics, asked, quorum, n in told["rounds"]]
    evaluations = [
        _Evaluated(number, held_out, validation, {name: _Spread(*parts) for name, parts in spread.items()})
        for number, held_out, validation, spread in told["evaluations"]
    ]
    title = told["title"]
    found = {
        "curves.png": (
            curves_png(rounds, evaluations, title=title, metric=told["metric"], asynchronous=told["asynchronous"]),
            PNG,
        )
    }
    if "round_trips" in told:
        found["round-trips.png"] = (round_trips_png(**told["round_trips"], title=title), PNG)
    return found


def main() -> None:
    """Draw what stdin tells of."""
    drawn = _drawn(json.load(sys.stdin))
    json.dump({name: base64.b64encode(image).decode() for name, (image, _) in drawn.items()}, sys.stdout)


if __name__ == "__main__":
    main()
