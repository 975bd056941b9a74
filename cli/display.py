"""A job as a picture in the terminal: made from a status, readable at 80 columns; decides nothing."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..storage.documents import Evaluation
from .pace import Traffic, client_seconds, late, traffic
from .status import JobStatus
from .tables import size_text

STATE_STYLES = {
    "running": "bold green",
    "waiting": "bold yellow",
    "unfinished": "bold yellow",
    "paused": "bold yellow",
    "cancelled": "bold red",
    "failed": "bold red",
    "done": "bold green",
}
CLIENT_MARKS = {
    "valid": ("✓", "green"),
    "rejected": ("✗", "red"),
    "failed": ("✗", "red"),
    "asked": ("·", "yellow"),
}
CLIENTS_SHOWN = 60  # above it, counts and the names of those still missing
NAMES_SHOWN = 8
SLOWEST_SHOWN = 2
LATE_SHOWN = 3
CURVE_WIDTH = 28
CURVES_MAX = 4
_BARS = "▁▂▃▄▅▆▇█"


def render(status: JobStatus) -> RenderableType:
    """The whole display of one job."""
    parts: list[RenderableType] = [_title(status), _rows(status)]
    parts += [Text(f"! {warning}", style="yellow") for warning in status.warnings]
    if status.reason and status.state not in ("running", "done"):
        parts.append(Text(f"{status.state}: {status.reason}", style=STATE_STYLES[status.state]))
    return Group(*parts)


def _title(status: JobStatus) -> RenderableType:
    spec = status.spec
    line = Table.grid(expand=True)
    line.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    line.add_column(justify="right", no_wrap=True)
    what = f"  {spec.strategy.name}, {spec.update}, {_members(status)}"
    left = Text.assemble((status.job, "bold"), (what, "dim"))
    line.add_row(left, Text(status.state, style=STATE_STYLES[status.state]))
    return line


def _members(status: JobStatus) -> str:
    spec = status.spec
    who = f"{len(spec.sites)} sites" if spec.sites else f"{spec.clients} clients"
    when = "at a time" if spec.schedule.asynchronous else "a round"
    return who if spec.asked == len(spec.client_names) else f"{spec.asked} of {who} {when}"


def _rows(status: JobStatus) -> RenderableType:
    rows = Table.grid(padding=(0, 2), expand=True)
    rows.add_column(style="dim", no_wrap=True, width=9)
    rows.add_column(ratio=1)
    word = "version" if status.spec.schedule.asynchronous else "round"
    rows.add_row(f"{word}s", _rounds(status))
    if not status.ended:
        rows.add_row(word, _now(status))
        rows.add_row("clients", _clients(status))
        rows.add_row("trainers", _trainers(status))
    if times := _times(status):
        rows.add_row("times", times)
    if waited_for := late(status):
        rows.add_row("late", _late(status, waited_for))
    if moved := traffic(status):
        rows.add_row("updates", _traffic(moved))
    for name in _curve_names(status):
        rows.add_row(name, _curve(status, name))
    if unequal := _spread(status):
        rows.add_row("spread", unequal)
    if trouble := _trouble(status):
        rows.add_row("trouble", trouble)
    return rows


def _rounds(status: JobStatus) -> RenderableType:
    line = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=status.spec.rounds, completed=status.rounds_done, width=CURVE_WIDTH, complete_style="green")
    left = status.seconds_left
    tail = "" if left is None else f"about {clock(left)} left"
    line.add_row(bar, f"{status.rounds_done} of {status.spec.rounds}", Text(tail, style="dim"))
    return line


def _now(status: JobStatus) -> Text:
    now = status.now
    if not now.asked:
        return Text("starting" if status.state == "running" and not status.results else "none is open", style="dim")
    name = "0 (the initial model)" if now.round == 0 else str(now.round)
    if status.spec.schedule.asynchronous and now.round:
        text = Text.assemble(f"{name}  ", (f"{now.valid} ready, {now.asked - now.valid} out", "bold"))
    else:
        text = Text.assemble(f"{name}  ", (f"{now.valid} of {now.asked} in", "bold"), f"  quorum {now.quorum}")
    if now.rejected + now.failed:
        text.append(f"  {now.rejected} rejected, {now.failed} failed", style="red")
    if now.deadline_left is not None:
        text.append(
            f"  {'next ' * status.spec.schedule.asynchronous}deadline in {clock(now.deadline_left)}", style="dim"
        )
    if now.extension:
        text.append(f"  extended {now.extension} times", style="yellow")
    return text


def _clients(status: JobStatus) -> Text:
    clients = status.now.clients
    if not clients:
        return Text("-", style="dim")
    busy = {one.fields.get("client") for one in status.trainers if one.fields.get("job") == status.job}
    if len(clients) <= CLIENTS_SHOWN:
        return Text(" ").join(_client(name, state, name in busy) for name, state in sorted(clients.items()))
    missing = sorted(name for name, state in clients.items() if state == "asked")
    return Text(f"missing: {some(missing) or 'nobody'}")


def _client(name: str, state: str, busy: bool) -> Text:
    mark, style = CLIENT_MARKS.get(state, ("?", "dim"))
    if busy and state == "asked":
        mark, style = "▸", "cyan"  # a trainer has it in hand
    return Text(f"{mark}{name}", style=style)


def _trainers(status: JobStatus) -> Text:
    if not status.trainers:
        return Text("none", style="dim")
    working = [one for one in status.trainers if one.fields.get("job") == status.job]
    text = Text(f"{len(status.trainers)} there" + (f", {len(working)} at work on this job" if working else ""))
    elsewhere = [one for one in status.trainers if one.fields.get("job") not in ("", None, status.job)]
    if elsewhere:
        text.append(f", {len(elsewhere)} on others", style="dim")
    return text


def _times(status: JobStatus) -> Text | None:
    """The last round's clients: the middle one, and the slowest by name."""
    seconds = client_seconds(status.results[-1].manifest) if status.results else {}
    if not seconds:
        return None
    slowest = sorted(seconds, key=lambda client: (-seconds[client], client))[:SLOWEST_SHOWN]
    text = Text(f"median {duration(statistics.median(seconds.values()))}, slowest ")
    text.append(", ".join(f"{client} {duration(seconds[client])}" for client in slowest), "bold")
    return text.append(f"  in round {status.results[-1].number}", "dim")


def _late(status: JobStatus, waited_for: Mapping[str, float]) -> Text:
    told = [f"{client} (usually {duration(seconds)})" for client, seconds in waited_for.items()]
    return Text(f"{some(told, LATE_SHOWN)}, asked {clock(status.now.since_start or 0.0)} ago", "yellow")


def _traffic(moved: Traffic) -> Text:
    fast = f"{moved.updates_a_second:.3g}/s, {size_text(moved.bytes_a_second)}/s, "
    text = Text(f"{fast}{moved.examples_a_second:,.0f} examples/s")
    return text.append(f"  {size_text(moved.round_bytes)} a round, {size_text(moved.total_bytes)} in all", "dim")


def _curve_names(status: JobStatus) -> list[str]:
    """What to draw: evaluations may lag many rounds behind, as they wait for idle trainers."""
    evaluation = status.last_evaluation
    places = [result.manifest.metrics for result in status.results[-3:]]
    places += [evaluation.held_out, evaluation.validation] if evaluation else []
    known = dict.fromkeys(name for place in places for name in place)
    first = [name for name in ("loss", "accuracy") if name in known]
    return [*first, *(name for name in known if name not in first)][:CURVES_MAX]


def _curve(status: JobStatus, name: str) -> Text:
    place, values = status.series(name)
    text = Text.assemble((curve(values, CURVE_WIDTH), "cyan"), "  ", (f"{values[-1]:.4g}", "bold"))
    best = min(values) if name == "loss" else max(values)
    text.append(f"  best {best:.4g}  {place}", style="dim")
    return text


def _spread(status: JobStatus) -> Text | None:
    """How unequal the clients are served, by the metric that chooses the best model: `spread_text`."""
    evaluation = status.last_evaluation
    told = evaluation and spread_text(evaluation, status.spec.evaluate.best)
    return Text(told) if told else None


def _trouble(status: JobStatus) -> Text | None:
    """Who failed, was rejected or stayed silent in the last round."""
    if not status.results:
        return None
    last = status.results[-1].manifest
    lines = [
        f"round {last.round}: {client} {what}: {why}"
        for what, clients in (("rejected", last.rejected), ("failed", last.failed), ("silent", last.silent))
        for client, why in clients.items()
    ]
    return (
        Text("\n".join(lines[:4] + ([f"and {len(lines) - 4} more"] if len(lines) > 4 else [])), "red")
        if lines
        else None
    )


def curve(values: Sequence[float], width: int) -> str:
    """The last values as a line of bars, between their lowest and highest."""
    shown = [value for value in values if abs(value) != float("inf") and value == value][-width:]
    if not shown:
        return " " * width
    low, high = min(shown), max(shown)
    steps = len(_BARS) - 1
    heights = (round((value - low) / (high - low) * steps) if high > low else steps // 2 for value in shown)
    return "".join(_BARS[height] for height in heights).ljust(width)


def spread_text(evaluation: Evaluation, metric: str) -> str:
    """`accuracy 0.71 to 0.98, worst tenth 0.73 (c003)`; empty where no two clients reported a metric."""
    name = metric if metric in evaluation.spread else "loss"
    spread = evaluation.spread.get(name)
    if spread is None or spread.clients < 2:
        return ""
    between = f"{name} {spread.min:.4g} to {spread.max:.4g} over {spread.clients} clients"
    return f"{between}, worst tenth {spread.worst_decile:.4g} ({spread.worst})"


def some(names: Iterable[str], most: int = NAMES_SHOWN) -> str:
    """`a, b, c and 4 more`."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def duration(seconds: float) -> str:
    """`8 ms`, `1.2 s`, `2:05`: at most three figures, and minutes as on a clock."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.3g} s" if seconds < 100 else clock(seconds)


def clock(seconds: float) -> str:
    """`0:07`, `12:30`, `1:02:03`."""
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
