"""What must hold of an asynchronous job, checked at every change of the store: its own reading of the documents."""

from __future__ import annotations

import json
from typing import Any

from simulation.checks import _CHECKPOINT, Checks, Document, name_of
from simulation.fake_bytes import folded, read_update_bytes
from simulation.kernel import Actor

from warren.storage import keys
from warren.storage.job import JobSpec

Ask = tuple[str, int]  # client, and the version that it started from


class FlowChecks(Checks):
    """`Checks` of jobs whose rounds from 1 on are versions."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.counted: dict[str, dict[Ask, int]] = {}  # job -> ask -> version

    def put(self, key: str, before: bytes | None, body: bytes, actor: Actor | None) -> None:
        parts = key.split("/")
        if parts[0] == "jobs" and parts[2] == "plans":
            self._plan(self._world.specs[parts[1]], json.loads(body))
        super().put(key, before, body, actor)

    def deleted(self, key: str) -> None:
        parts = key.split("/")
        if parts[0] == "updates":
            for name in keys.read_updates(key):
                version = self.version_of(name.job, name.client, name.round)
                if version is not None and (parts[1], version) not in self.checkpoints:
                    self._fail(f"{key} was deleted, and version {version} is not committed")
        elif found := _CHECKPOINT.search(key):
            for client, base in self._may_start(parts[1]):
                if base == int(found[1]):
                    self._fail(f"{key} was deleted, and {client} starts from it")
        else:
            super().deleted(key)

    def _may_start(self, job: str) -> set[Ask]:
        """Who is out by the newest plan, and was not lost or counted in its version."""
        standing = {ask for ask in self.standing(job) if ask not in self.counted.get(job, {})}
        plans = self._objects.under(f"jobs/{job}/plans/")
        manifest = self.manifests.get((job, json.loads(self._objects.bodies[plans[-1]])["round"]), {})
        lost = {client for how in ("failed", "rejected", "silent") for client in manifest.get(how, ())}
        return {(client, base) for client, base in standing if client not in lost}

    def version_of(self, job: str, client: str, round_number: int) -> int | None:
        """The version that this client's update of this round counted in."""
        return self.counted.get(job, {}).get((client, round_number - 1))

    def standing(self, job: str) -> set[Ask]:
        """Who is out by the newest plan."""
        plans = self._objects.under(f"jobs/{job}/plans/")
        return asks(json.loads(self._objects.bodies[plans[-1]])) if plans else set()

    def _plan(self, spec: JobSpec, plan: Document) -> None:
        version = plan["round"]
        if version == 0:
            return
        before = self._before(spec.job, version, plan["number"])
        for client, base in sorted(asks(plan) - before):
            if base != version - 1:
                self._fail(f"plan {version} asks {client} anew from version {base}")
            self._within_bound(spec, plan, client)
        for ask in asks(plan):
            if self.counted.get(spec.job, {}).get(ask, version) < version:
                self._fail(f"plan {version} names {ask}, whose update counted")
        if spec.schedule.kind != "ssp" and plan["number"] == 0 and len(asks(plan) - before) > spec.selected:
            self._fail(f"plan {version} asks more than {spec.selected} at a time")

    def _before(self, job: str, version: int, number: int) -> set[Ask]:
        """Who was out by the plans before this one: of this version, or else of the one before."""
        plans = self._objects.under(keys.plans(job, version))[:number]
        plans = plans or (self._objects.under(keys.plans(job, version - 1)) if version > 1 else [])
        return set().union(*(asks(json.loads(self._objects.bodies[key])) for key in plans))

    def _within_bound(self, spec: JobSpec, plan: Document, client: str) -> None:
        if spec.schedule.kind == "ssp":
            clocks = {each: plan["clocks"].get(each, 0) for each in plan["clients"]}
            if clocks[client] - min(clocks.values()) > float(spec.schedule.staleness):
                self._fail(f"plan {plan['round']} asks {client}, too far ahead: {clocks}")

    def _manifest(self, spec: JobSpec, manifest: Document, actor: Actor | None) -> None:
        number: int = manifest["round"]
        if number == 0:
            super()._manifest(spec, manifest, actor)
            return
        self.manifests[spec.job, number] = manifest
        if (spec.job, number - 1) not in self.checkpoints:
            self._fail(f"version {number} is frozen, and version {number - 1} is not committed")
        clients = [entry["client"] for entry in manifest["entries"]]
        if clients != sorted(set(clients)):
            self._fail(f"version {number} counts {clients}, not each once and in client order")
        takes = {"fedasync": 1, "fedbuff": spec.schedule.buffer}.get(spec.schedule.kind)
        if len(clients) != takes and (takes is not None or not clients):
            self._fail(f"version {number} has {len(clients)} updates, not {takes}")
        plans = self._objects.under(keys.plans(spec.job, number))[: manifest["plan"] + 1]
        asked = set().union(*(asks(json.loads(self._objects.bodies[key])) for key in plans))
        for entry in manifest["entries"]:
            self._counts(spec, number, entry, asked)
        self._lose_one(spec, {**manifest, "round": manifest["entries"][-1]["base"] + 1})
        if actor is not None:
            self.obeys(spec.job, f"version {number} was frozen", actor)

    def _counts(self, spec: JobSpec, number: int, entry: Document, asked: set[Ask]) -> None:
        ask: Ask = (entry["client"], entry["base"])
        if ask not in asked:
            self._fail(f"version {number} counts {ask}, who was not asked")
        if ask in self.counted.setdefault(spec.job, {}):
            self._fail(f"version {number} counts {ask} again")
        self.counted[spec.job][ask] = number
        self._entry(spec, entry["base"] + 1, entry)

    def _implied(self, job: str, number: int, manifest: Document) -> bytes | None:
        if number == 0:
            return super()._implied(job, number, manifest)
        found = [read_update_bytes(self.updates[_place(job, entry)]) for entry in manifest["entries"]]
        if None in found:
            return None
        return folded(self.checkpoints.get((job, number - 1)), [update for update in found if update is not None])

    def _own_command(self, spec: JobSpec, command: str, reason: str, actor: Actor | None) -> None:
        if not reason.startswith("hopeless") or actor is None or actor.round == 0:
            super()._own_command(spec, command, reason, actor)
            return
        version = actor.round
        frozen_at = self._objects.put_at.get(keys.manifest(spec.job, version))
        if frozen_at is not None and frozen_at < max(actor.saw_manifest, actor.heard):
            self._fail(f"{spec.job}: {command} for version {version}, which is frozen: {reason}")
        plans = self._objects.under(keys.plans(spec.job, version))
        listed = asks(json.loads(self._objects.bodies[plans[-1]])) if plans else set()
        there = [ask for ask in sorted(listed) if self._valid_before(spec, ask[1] + 1, ask[0], actor.heard)]
        need = max(spec.quorum_count, spec.schedule.buffer if spec.schedule.kind == "fedbuff" else 1)
        if len(there) >= need:
            self._fail(f"{spec.job}: {command} for want of updates that were in the store: {reason}")


def asks(plan: Document) -> set[Ask]:
    """Who is out by this plan."""
    return {(client, plan["bases"].get(client, plan["round"] - 1)) for client in plan["clients"]}


def _place(job: str, entry: Document) -> str:
    return name_of(job, entry["base"] + 1, entry).place
