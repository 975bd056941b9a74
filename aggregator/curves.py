"""curves.png: a job's loss and metric by round, and how many clients each round counted."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence, Sized
from typing import Any, Protocol

from .results import by_round

INK, QUIET, _GRID = "#24292f", "#6e7781", "#e6e9ec"
_SERIES = {  # label: colour; told apart by people who see few colours (Okabe and Ito)
    "held out": "#0072b2",
    "validation": "#e69f00",
    "train": "#9aa4ad",
}
_VALID, _LOST, _OUT, _QUORUM = "#009e73", "#e0863f", "#cfd5da", "#24292f"
_ROUNDS_MARKED = 30  # with more, marks hide the line
_BARS_APART = 60  # with more, the gaps between them make stripes
_DRAWN_MAX = 1e100  # a peer may say 1.7e308, and matplotlib's axes overflow there
_ROUNDS_DRAWN = 2000  # bars, at most: more are thinner than a pixel

Points = tuple[list[int], list[float]]


class Counted(Protocol):
    """Of a manifest what is drawn."""

    @property
    def round(self) -> int: ...
    @property
    def metrics(self) -> Mapping[str, float]: ...
    @property
    def asked(self) -> int: ...
    @property
    def quorum(self) -> int: ...
    @property
    def entries(self) -> Sized: ...


class Unequal(Protocol):
    """Of a metric's spread what is drawn."""

    @property
    def clients(self) -> int: ...
    @property
    def q1(self) -> float: ...
    @property
    def q3(self) -> float: ...
    @property
    def worst_decile(self) -> float: ...


class Measured(Protocol):
    """Of an evaluation what is drawn."""

    @property
    def round(self) -> int: ...
    @property
    def held_out(self) -> Mapping[str, float]: ...
    @property
    def validation(self) -> Mapping[str, float]: ...
    @property
    def spread(self) -> Mapping[str, Unequal]: ...


def curves_png(
    manifests: Sequence[Counted],
    evaluations: Sequence[Measured],
    *,
    title: str,
    metric: str = "accuracy",
    asynchronous: bool = False,
) -> bytes:
    """Draw a job.

    Args:
        metric: what stands beside the loss; where no round has it, the first metric that there is.
        asynchronous: who was asked and does not count in a version is still out, and not lost.
    """
    # The classes themselves, not pyplot: it keeps figures of the whole process, and is not for threads.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    trained = [manifest for manifest in by_round(manifests) if manifest.round > 0]
    series = series_of(trained, evaluations)
    shown = shown_metric(series, metric)
    figure = Figure(figsize=(10, 6.4), dpi=130, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, height_ratios=(3, 1.25))
    rounds = max([manifest.round for manifest in trained] + [e.round for e in evaluations] + [1])
    for column, name in enumerate(("loss", shown)):
        axes = figure.add_subplot(grid[0, column])
        _draw_spread(axes, evaluations, name)
        _draw_lines(axes, series, name, rounds)
    _draw_clients(figure.add_subplot(grid[1, :]), trained, rounds, asynchronous)
    figure.suptitle(title[:100], x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK, parse_math=False)
    image = io.BytesIO()
    figure.savefig(image, format="png", metadata={"Software": None})
    return image.getvalue()


def series_of(manifests: Sequence[Counted], evaluations: Sequence[Measured]) -> dict[str, dict[str, Points]]:
    """label -> metric -> (rounds, values), only those that can be drawn."""
    ordered = sorted(evaluations, key=lambda evaluation: evaluation.round)
    return {
        "held out": _collect([(e.round, e.held_out) for e in ordered]),
        "validation": _collect([(e.round, e.validation) for e in ordered]),
        "train": _collect([(m.round, m.metrics) for m in manifests]),
    }


def _collect(rows: Sequence[tuple[int, Mapping[str, float]]]) -> dict[str, Points]:
    found: dict[str, Points] = {}
    for number, metrics in rows:
        for name, value in metrics.items():
            if _drawable(value):
                rounds, values = found.setdefault(name, ([], []))
                rounds.append(number)
                values.append(value)
    return found


def _drawable(value: float) -> bool:
    return abs(value) <= _DRAWN_MAX  # false for NaN too


def shown_metric(series: Mapping[str, Mapping[str, Points]], wanted: str) -> str:
    """What stands beside the loss: the metric that is wanted, or the first that there is."""
    names = {name for points in series.values() for name in points} - {"loss"}
    return wanted if wanted in names or not names else min(names)


def _draw_spread(axes: Any, evaluations: Sequence[Measured], metric: str) -> None:
    """The clients' middle half on their validation shares as a band, and their worst tenth as a thin line."""
    found = [(e.round, e.spread[metric]) for e in evaluations if metric in e.spread]
    found.sort(key=lambda one: one[0])
    ordered = [(at, s) for at, s in found if s.clients > 1 and all(map(_drawable, (s.q1, s.q3, s.worst_decile)))]
    if not ordered:
        return
    at = [number for number, _ in ordered]
    colour = _SERIES["validation"]
    middle = [s.q1 for _, s in ordered], [s.q3 for _, s in ordered]
    axes.fill_between(at, *middle, color=colour, alpha=0.22, linewidth=0, label="clients' middle half")
    worst = [s.worst_decile for _, s in ordered]
    said = f"worst tenth of clients  {worst[-1]:.4g}"
    axes.plot(at, worst, color=colour, linewidth=1.0, linestyle=(0, (4, 2)), label=said)


def _draw_lines(axes: Any, series: Mapping[str, Mapping[str, Points]], metric: str, rounds: int) -> None:
    dress(axes, metric, rounds)
    for label, colour in _SERIES.items():
        if metric not in series[label]:
            continue
        at, values = series[label][metric]
        marker = "o" if len(at) <= _ROUNDS_MARKED else ""
        width = 1.2 if label == "train" else 2.0
        said = f"{label}  {values[-1]:.4g}"
        axes.plot(at, values, color=colour, linewidth=width, marker=marker, markersize=3.5, label=said)
    if axes.lines:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    else:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=QUIET)


def _draw_clients(axes: Any, manifests: Sequence[Counted], rounds: int, asynchronous: bool) -> None:
    """Bars: the clients that counted, on top of them those that were asked and did not; the quorum as a line."""
    dress(axes, "clients", rounds)
    axes.set_xlabel("round", color=QUIET, fontsize=9)
    drawn = manifests[:: max(1, math.ceil(len(manifests) / _ROUNDS_DRAWN))]
    if not drawn:
        return
    at = [manifest.round for manifest in drawn]
    valid = [len(manifest.entries) for manifest in drawn]
    rest = [max(0, manifest.asked - count) for manifest, count in zip(drawn, valid, strict=True)]
    edges = [number - 0.5 for number in at] + [at[-1] + 0.5]
    _bars(axes, edges, valid, [0] * len(at), _VALID, "counted")
    if any(rest):
        colour, label = (_OUT, "still out, or lost") if asynchronous else (_LOST, "asked, not counted")
        _bars(axes, edges, rest, valid, colour, label)
    quorum = [manifest.quorum for manifest in drawn]
    axes.stairs(quorum, edges, color=_QUORUM, linewidth=1.4, linestyle=(0, (4, 2)), label="quorum", baseline=None)
    axes.set_ylim(0, max(max(v + x for v, x in zip(valid, rest, strict=True)), *quorum, 1) * 1.08)
    axes.yaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, ncols=3, loc="lower right", bbox_to_anchor=(1, 0.98))


def _bars(axes: Any, edges: list[float], heights: list[int], bottom: list[int], colour: str, label: str) -> None:
    if len(heights) > _BARS_APART:
        tops = [height + below for height, below in zip(heights, bottom, strict=True)]
        axes.stairs(tops, edges, baseline=bottom, fill=True, color=colour, label=label)
    else:
        middles = [edge + 0.5 for edge in edges[:-1]]
        axes.bar(middles, heights, bottom=bottom, width=0.8, color=colour, label=label)


def dress(axes: Any, title: str, rounds: int) -> None:
    """Title, limits and grid of one panel."""
    axes.set_title(title[:63], loc="left", fontsize=10.5, color=INK, parse_math=False)
    edge = 0.02 * rounds
    axes.set_xlim((0.4, rounds + 0.6) if title == "clients" else (-edge, rounds + edge))
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.tick_params(colors=QUIET, labelsize=8.5, length=0)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_GRID)
