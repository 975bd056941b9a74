"""A picture of a partition: which client holds how many examples of which class."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..aggregator.curves import INK, QUIET

CLASSES_SHOWN = 20  # the largest; the others together
VALUES_MAX = 50  # more different targets are numbers, not classes
NAMES_SHOWN = 40  # clients with names beside their bars
HEIGHT_MIN, HEIGHT_MAX = 2.8, 11.0  # inches
BAR_HEIGHT = 0.27
OTHERS = "others"
ALL = "examples"
DPI = 130
# Okabe and Ito's eight first, told apart by people who see few colours; then Tol's muted ones.
COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#f0e442", "#44546a", "#882255", "#117733",
    "#ddcc77", "#332288", "#88ccee", "#aa4499", "#999933", "#661100", "#6699cc", "#aa4466", "#4477aa", "#228833",
    "#bbbbbb",
)  # fmt: skip


def partition_png(clients: Sequence[str], labels: Sequence[Sequence[Any]], *, title: str) -> bytes:
    """Draw clients by classes: a bar a client, its parts the classes.

    Args:
        clients: their names.
        labels: each client's targets; those that are no classes are drawn as a mere count.
    """
    # The classes themselves, not pyplot: it keeps figures of the whole process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    classes, counts = count_classes(labels)
    height = min(HEIGHT_MAX, max(HEIGHT_MIN, 1.5 + BAR_HEIGHT * len(clients)))
    figure = Figure(figsize=(10, height), dpi=DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw(axes, clients, classes, counts)
    smallest, largest = counts.sum(axis=1).min(), counts.sum(axis=1).max()
    axes.set_title(
        f"{title}, {counts.sum():,} examples, {smallest:,} to {largest:,} a client",
        loc="left", fontsize=12, fontweight="bold", color=INK, parse_math=False,
    )  # fmt: skip
    image = io.BytesIO()
    figure.savefig(image, format="png", metadata={"Software": None})
    return image.getvalue()


def count_classes(labels: Sequence[Sequence[Any]]) -> tuple[list[str], np.ndarray[Any, np.dtype[np.int64]]]:
    """(the classes' names, (clients, classes) how many of each)."""
    counters = [Counter(of_client) for of_client in labels]
    total = sum(counters, Counter())
    if len(total) > VALUES_MAX or any(isinstance(value, float) and not value.is_integer() for value in total):
        return [ALL], np.array([[counter.total()] for counter in counters], np.int64)
    shown = sorted(
        [value for value, _ in total.most_common(CLASSES_SHOWN)], key=lambda value: (str(type(value)), value)
    )
    counts = [[counter[value] for value in shown] for counter in counters]
    names = [f"{value:g}" if isinstance(value, float) else str(value) for value in shown]
    if len(total) > len(shown):
        counts = [[*row, counter.total() - sum(row)] for row, counter in zip(counts, counters, strict=True)]
        names.append(OTHERS)
    return [name or ALL for name in names], np.array(counts, np.int64)


def _draw(axes: Any, clients: Sequence[str], classes: Sequence[str], counts: Any) -> None:
    places = np.arange(len(clients))
    left = np.zeros(len(clients), np.int64)
    few = len(clients) <= NAMES_SHOWN
    for number, name in enumerate(classes):
        axes.barh(
            places, counts[:, number], left=left, height=0.8 if few else 1.0, color=COLOURS[number % len(COLOURS)],
            label=name, edgecolor="white", linewidth=0.6 if few else 0,
        )  # fmt: skip
        left += counts[:, number]
    axes.set_ylim(len(clients) - 0.4, -0.6)  # the first on top
    axes.margins(x=0.01)
    if few:
        axes.set_yticks(places, clients)
    else:
        axes.set_ylabel(f"{len(clients)} clients", color=QUIET)
    axes.set_xlabel("examples", color=QUIET)
    axes.tick_params(colors=QUIET, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(QUIET)
    if len(classes) > 1:
        axes.legend(
            title="class", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=9,
            labelcolor=INK, ncols=1 if few and len(clients) > 8 else 2,
        )  # fmt: skip
