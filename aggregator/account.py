"""The manifest of a round: what counts, what does not and why, and what was last known of the silent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .. import __version__
from ..storage.documents import Entry, Manifest, Plan
from ..storage.errors import StorageError
from ..storage.job import JobSpec
from .events import Round
from .ports import House

REASON_CHARACTERS_MAX = 20_000


def account_for(
    house: House,
    spec: JobSpec,
    plan: Plan,
    round: Round,
    entries: Sequence[Entry],
    reason: str,
    seconds: float,
) -> Manifest:
    """The manifest that freezes these entries, with the account of everybody else who was asked."""
    counted = {entry.client for entry in entries}
    return Manifest(
        job=spec.job,
        round=plan.round,
        plan=plan.number,
        base=plan.base,
        entries=tuple(entries),
        rejected=_bounded(round.rejected),
        failed=_bounded(round.failed),
        silent=_silent(house, spec, round, sorted(round.unanswered - counted)),
        reason=reason[:REASON_CHARACTERS_MAX],
        quorum=plan.quorum,
        asked=len(plan.clients),
        metrics=weighted_metrics((entry.examples, entry.metrics) for entry in entries),
        seconds=round_to_ms(seconds),
        frozen_at=house.wall_clock(),
        versions={"warren": __version__},
    )


def weighted_metrics(parts: Iterable[tuple[int, Mapping[str, float]]]) -> dict[str, float]:
    """Means weighted by examples; a metric that only some report is their mean. In the order of names."""
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for examples, metrics in parts:
        for name, value in metrics.items():
            sums[name] = sums.get(name, 0.0) + examples * value
            counts[name] = counts.get(name, 0) + examples
    return {name: sums[name] / counts[name] for name in sorted(sums) if counts[name]}


def _silent(house: House, spec: JobSpec, round: Round, clients: Sequence[str]) -> dict[str, str]:
    """The last thing known of each client that did not answer: from presence, which may be gone."""
    if not clients:
        return {}
    try:
        present = house.ledger.presences("trainer")
    except StorageError:
        present = ()
    at_work = {p.fields.get("client", ""): p for p in present if p.fields.get("job") == spec.job}
    said = {}
    for client in clients:
        presence = at_work.get(client)
        if presence is None:
            said[client] = "no trainer was at it" if present else "no trainer was there"
        else:
            where = presence.fields.get("host", "?")
            said[client] = f"{presence.fields.get('state', 'working')} on {presence.id} ({where})"
    return said


def _bounded(reasons: Mapping[str, str]) -> dict[str, str]:
    return {client: reasons[client][:REASON_CHARACTERS_MAX] for client in sorted(reasons)}


def round_to_ms(seconds: float) -> float:
    return round(seconds, 3)
