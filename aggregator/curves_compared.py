"""Two jobs' curves in one picture: loss and metric by round, each job in its colour."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from ..storage.documents import Evaluation, Manifest
from .curves import INK, QUIET, Points, dress, series_of, shown_metric
from .results import by_round

_COLOURS = ("#0072b2", "#d55e00")  # told apart by people who see few colours (Okabe and Ito)
_LINES = {"held out": "-", "validation": "--", "train": ":"}

Job = tuple[str, Sequence[Manifest], Sequence[Evaluation]]  # its name for the legend, its documents
Series = Mapping[str, Mapping[str, Points]]


def compared_png(one: Job, other: Job, *, metric: str = "accuracy") -> bytes:
    """Draw two jobs side by side: the loss, and `metric` or, where no round has it, the first that there is."""
    # The classes themselves, not pyplot: it keeps figures of the whole process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = [(name, _series(manifests, evaluations)) for name, manifests, evaluations in (one, other)]
    rounds = max(_last_round(one), _last_round(other), 1)
    figure = Figure(figsize=(10, 4.6), dpi=130, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    for axes, shown in zip(figure.subplots(1, 2), ("loss", shown_metric(drawn[0][1], metric)), strict=True):
        dress(axes, shown, rounds)
        axes.set_xlabel("round", color=QUIET, fontsize=9)
        for colour, (name, series) in zip(_COLOURS, drawn, strict=True):
            _draw(axes, name, series, shown, colour)
        if axes.lines:
            axes.legend(frameon=False, fontsize=8.5, labelcolor=INK)
    image = io.BytesIO()
    figure.savefig(image, format="png", metadata={"Software": None})
    return image.getvalue()


def _last_round(job: Job) -> int:
    _, manifests, evaluations = job
    return max([manifest.round for manifest in manifests] + [one.round for one in evaluations] + [0])


def _series(manifests: Sequence[Manifest], evaluations: Sequence[Evaluation]) -> Series:
    return series_of([manifest for manifest in by_round(manifests) if manifest.round > 0], evaluations)


def _draw(axes: Any, name: str, series: Series, metric: str, colour: str) -> None:
    """A line for each place that it was measured in; that of the clients' own training only where there is no other."""
    places = [place for place in _LINES if metric in series[place]]
    for place in [place for place in places if place != "train"] or places:
        at, values = series[place][metric]
        said = f"{name}, {place}  {values[-1]:.4g}"
        axes.plot(at, values, color=colour, linestyle=_LINES[place], linewidth=1.8, label=said)
