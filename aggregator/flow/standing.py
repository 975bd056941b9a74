"""Where a flow stands, as the store tells it: the last plan, less what counted since."""

from __future__ import annotations

from dataclasses import replace

from ...storage.documents import Manifest, Plan
from ...storage.job import JobSpec
from ..events import Written
from ..record import Record
from .events import Ask, Counted, Flow, rules_of
from .rules import advance


def read_flow(record: Record, spec: JobSpec, version: int) -> Flow:
    """The flow before this version was made: the version before it is frozen.

    Raises:
        ObjectMissing, ObjectDamaged: a document is not there as it was.
    """
    plan = record.last_plan(version)
    if plan is not None:
        return _planned(spec, plan)
    before = record.last_plan(version - 1) if version > 1 else None
    if before is None:
        return Flow(version, rules_of(spec))  # nobody was asked yet, beside for the initial model
    frozen = advance(replace(_planned(spec, before), phase="looking"), counted(record.manifest(version - 1)), 0.0).flow
    return advance(frozen, Written(), 0.0).flow


def bases_of_plan(plan: Plan) -> dict[str, int]:
    """Who is out by this plan, and the version that each started from."""
    return {client: plan.bases.get(client, plan.round - 1) for client in plan.clients}


def counted(manifest: Manifest) -> Counted:
    """What a manifest says of the clients that were out."""
    bases = {entry.client: manifest.round_of(entry) - 1 for entry in manifest.entries}
    return Counted(bases, frozenset({*manifest.failed, *manifest.rejected, *manifest.silent}))


def _planned(spec: JobSpec, plan: Plan) -> Flow:
    bases = bases_of_plan(plan)
    out = {client: Ask(base) for client, base in bases.items()}
    return Flow(plan.round, rules_of(spec), plan=plan.number, listed=bases, out=out, clocks=plan.clocks)
