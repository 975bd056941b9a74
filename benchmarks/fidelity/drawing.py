"""Curves as a picture: the same style for every experiment, and bytes that follow from the figures alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

COLUMNS_MAX = 3


@dataclass(frozen=True, slots=True)
class Line:
    """One curve of a panel."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    color: int = 0  # of a cycle of ten; the eleventh is the first one, dashed
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    lines: Sequence[Line]
    marks: Sequence[tuple[float, str]] = ()  # vertical: the paper's figures
    level: float | None = None  # horizontal: the target
    y_limits: tuple[float, float] | None = None


def draw(path: Path, panels: Sequence[Panel], x_label: str, y_label: str, *, log_x: bool = False) -> None:
    """Write the panels beside each other."""
    columns = min(COLUMNS_MAX, len(panels))
    rows = -(-len(panels) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(4.6 * columns, 3.6 * rows), dpi=110, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, panel, log_x=log_x)
        axes.set(xlabel=x_label, ylabel=y_label)
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


def _draw_panel(axes: Any, panel: Panel, *, log_x: bool) -> None:
    for line in panel.lines:
        style = "--" if line.dashed or line.color > 9 else "-"
        axes.plot(line.x, line.y, style, color=f"C{line.color % 10}", linewidth=1.2, label=line.label)
    if panel.level is not None:
        axes.axhline(panel.level, color="gray", linewidth=0.8, linestyle=":")
    for place, label in panel.marks:
        axes.axvline(place, color="black", linewidth=0.8, linestyle="--", label=label)
    if log_x:
        axes.set_xscale("log")
    if panel.y_limits:
        axes.set_ylim(*panel.y_limits)
    axes.set_title(panel.title, fontsize=9)
    if panel.lines or panel.marks:
        axes.legend(fontsize=7)
