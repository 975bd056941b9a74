"""The picture of a balanced job: each client's round-trip, round by round, and the share of work it had."""

from __future__ import annotations

import io
import statistics
from collections.abc import Mapping, Sequence

from .results import Outcome

CLIENTS_DRAWN_MAX = 20  # by name; of more, the least, the middle and the most of each round


Lines = Mapping[str, tuple[list[int], list[float]]]


def round_trips_png(lines: Lines, *, title: str, target: float) -> bytes:
    """Draw `lines_of` a job, with a line at the target, in seconds. Empty axes where nothing was measured."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, (rounds, seconds) in lines.items():
        axes.plot(rounds, seconds, marker=".", linewidth=1.0, label=name)
    axes.axhline(target, color="gray", linewidth=0.8, linestyle="--", label="target")
    axes.set(xlabel="round", ylabel="round-trip, seconds", title=title)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7, ncols=2)
    figure.tight_layout()
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def lines_of(outcomes: Sequence[Outcome]) -> dict[str, tuple[list[int], list[float]]]:
    """What is drawn: by client, or as least, middle and most where there are too many; rounds and seconds."""
    taken = {outcome.round: outcome.took for outcome in outcomes}
    clients = sorted({client for found in taken.values() for client in found})
    if len(clients) <= CLIENTS_DRAWN_MAX:
        rounds = {client: [n for n, found in taken.items() if client in found] for client in clients}
        return {client: (numbers, [taken[n][client] for n in numbers]) for client, numbers in rounds.items()}
    measured = [n for n, found in taken.items() if found]
    return {
        "slowest": (measured, [max(taken[n].values()) for n in measured]),
        "median": (measured, [statistics.median(taken[n].values()) for n in measured]),
        "fastest": (measured, [min(taken[n].values()) for n in measured]),
    }
