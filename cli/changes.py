"""What happened between two looks at a job: events to print as lines, or as JSON objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..storage.documents import Manifest
from .pace import client_seconds
from .status import JobStatus, RoundResult

SLOW_SHARE = 0.5  # of a round: the client that took it is named


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that happened: a line for people, and the facts for programs."""

    event: str
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self, job: str) -> dict[str, Any]:
        return {"event": self.event, "job": job, **self.facts}


def changes(before: JobStatus | None, after: JobStatus) -> Iterator[Change]:
    """What `after` has that `before` had not, oldest first."""
    known = {result.number: result for result in before.results} if before else {}
    for result in after.results:
        old = known.get(result.number)
        if old is None:
            yield from _frozen(after, result)
        if result.evaluation is not None and (old is None or old.evaluation is None):
            yield _evaluated(after, result)
    for warning in after.warnings:
        if before is None or warning not in before.warnings:
            yield Change("warning", f"! {warning}", {"text": warning})
    if before is None or before.state != after.state:
        yield _state(after)


def _frozen(status: JobStatus, result: RoundResult) -> Iterator[Change]:
    manifest = result.manifest
    text = f"round {manifest.round}/{status.spec.rounds}  {len(manifest.entries)} of {manifest.asked} in"
    text += f"  {manifest.seconds:.1f} s{_slowest(manifest)}  {metrics_text(manifest.metrics)}"
    facts = {
        "round": manifest.round,
        "rounds": status.spec.rounds,
        "valid": len(manifest.entries),
        "asked": manifest.asked,
        "quorum": manifest.quorum,
        "seconds": round(manifest.seconds, 3),
        "bytes": result.update_bytes,
        "examples": sum(entry.examples for entry in manifest.entries),
        "client_seconds": client_seconds(manifest),
        "metrics": manifest.metrics,
        "reason": manifest.reason,
        "rejected": manifest.rejected,
        "failed": manifest.failed,
        "silent": manifest.silent,
    }
    yield Change("round", text.rstrip(), facts)
    for what, clients in (
        ("rejected", manifest.rejected),
        ("failed", manifest.failed),
        ("silent", manifest.silent),
    ):
        for client, why in clients.items():
            place = {"round": manifest.round, "client": client, "reason": why}
            yield Change(what, f"round {manifest.round}/{status.spec.rounds}  {client} {what}: {why}", place)


def _slowest(manifest: Manifest) -> str:
    """`, slowest c003 1.2 s`, where it took most of the round."""
    seconds = client_seconds(manifest)
    slowest = max(seconds, key=lambda client: seconds[client], default="")
    if len(seconds) < 2 or seconds[slowest] < max(1.0, SLOW_SHARE * manifest.seconds):
        return ""
    return f", slowest {slowest} {seconds[slowest]:.1f} s"


def _evaluated(status: JobStatus, result: RoundResult) -> Change:
    evaluation = result.evaluation
    assert evaluation is not None
    where, numbers = "held-out", evaluation.held_out
    if not numbers:
        where, numbers = "validation", evaluation.validation
    text = f"round {result.number}/{status.spec.rounds}  {metrics_text(numbers)} ({where})"
    facts = {
        "round": result.number,
        "held_out": evaluation.held_out,
        "validation": evaluation.validation,
        "spread": {name: spread.model_dump() for name, spread in evaluation.spread.items()},
        "missing": evaluation.missing,
    }
    return Change("evaluation", text, facts)


def _state(status: JobStatus) -> Change:
    text = f"{status.job} {status.state}" + (f": {status.reason}" if status.reason else "")
    return Change("state", text, {"state": status.state, "reason": status.reason, "round": status.rounds_done})


def metrics_text(metrics: Mapping[str, float]) -> str:
    """`accuracy 0.953  loss 0.181`: at most four, by name."""
    return "  ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items())[:4])
