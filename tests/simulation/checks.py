"""What must hold, checked at every change of the store: its own reading of the documents, none of the rooms' code."""

from __future__ import annotations

import json
import re
from typing import Any

from simulation.fake_bytes import digest, examples_of, folded, read_update_bytes, updates_in, valid_update
from simulation.fake_store import Objects
from simulation.fake_work import evaluation_of
from simulation.keeping import Keeping
from simulation.kernel import Actor
from simulation.world import World

from warren.storage import keys
from warren.storage.job import JobSpec
from warren.storage.keys import UpdateName, read_updates

DERIVED = ("best.safetensors", "metrics.csv", "curves.png")  # written again as the job goes on
ENDS = ("cancel", "fail", "done")
_CHECKPOINT = re.compile(r"round-(\d{5})\.safetensors\Z")

Document = dict[str, Any]


class Checks:
    """Watches the store and remembers what was ever committed."""

    def __init__(self, world: World, objects: Objects) -> None:
        self._world = world
        self._objects = objects
        self._fail = world.kernel.fail
        self.checkpoints: dict[tuple[str, int], bytes] = {}
        self.manifests: dict[tuple[str, int], Document] = {}
        self.controls: dict[str, list[tuple[int, str, str]]] = {job: [] for job in world.specs}  # step, command, reason
        self.updates: dict[str, bytes] = {}  # every update that ever was, by its place
        self.given: set[tuple[str, int, str]] = set()  # job, round, client: of these
        self.lost: set[str] = set()  # by the disk
        self.keeping = Keeping(world, objects)
        world.eyes = self

    def put(self, key: str, before: bytes | None, body: bytes, actor: Actor | None) -> None:
        if before is not None and before != body and not key.endswith(DERIVED):
            self._fail(f"{key} was created once and changed")
        parts = key.split("/")
        if parts[0] == "updates":
            for name, update in updates_in(key, body).items():
                self.updates[name.place] = update
                self.given.add((name.job, name.round, name.client))
        elif parts[2] == "rounds":
            self._world.kernel.note(f"FROZEN {parts[1]} {parts[3]}")
            self._manifest(self._world.specs[parts[1]], json.loads(body), actor)
        elif parts[2] == "checkpoints":
            self._checkpoint(parts[1], parts[3], body)
        elif parts[2] == "control":
            self._control(parts[1], json.loads(body), actor)
        elif parts[2] == "clients":
            self.keeping.put(key, body)
        elif parts[2] == "evaluations":
            self._evaluation(parts[1], json.loads(body))
        elif parts[2] == "final.safetensors":
            self._final(self._world.specs[parts[1]], body)

    def deleted(self, key: str) -> None:
        parts = key.split("/")
        if parts[0] == "updates":
            if (parts[1], int(parts[2])) not in self.checkpoints:
                self._fail(f"{key} was deleted, and its round is not committed")
        elif parts[2] == "clients":
            self.keeping.deleted(key, max((n for job, n in self.checkpoints if job == parts[1]), default=-1))
        elif parts[2] != "checkpoints":
            self._fail(f"{key} was deleted")
        elif (found := _CHECKPOINT.search(key)) and (parts[1], int(found[1]) + 1) not in self.checkpoints:
            self._fail(f"{key} was deleted, and the next round starts from it")
        elif found and self._awaited(self._world.specs[parts[1]], int(found[1])):
            self._fail(f"{key} was deleted, and is still to be evaluated")

    # A round

    def _manifest(self, spec: JobSpec, manifest: Document, actor: Actor | None) -> None:
        number: int = manifest["round"]
        clients = [entry["client"] for entry in manifest["entries"]]
        self.manifests[spec.job, number] = manifest
        if number and (spec.job, number - 1) not in self.checkpoints:
            self._fail(f"round {number} is frozen, and round {number - 1} is not committed")
        for client in sorted(set(clients)):
            if clients.count(client) > 1:
                self._fail(f"{client} counted twice in round {number}")
        if clients != sorted(clients):
            self._fail(f"round {number} is not in client order")
        quorum, wanted = (spec.quorum_count, spec.selected) if number else (1, 1)
        if not quorum <= len(clients) <= wanted:
            self._fail(f"round {number} has {len(clients)} updates, quorum {quorum}, wanted {wanted}")
        if strangers := set(clients) - self._asked(spec.job, number, manifest["plan"]):
            self._fail(f"round {number} counts {min(strangers)}, who was not asked")
        for entry in manifest["entries"]:
            self._entry(spec, number, entry)
            self.keeping.counted(spec, number, entry)
        self._lose_one(spec, manifest)
        if actor is not None:
            self._decided_well(spec, number, manifest, actor, complete=len(clients) == wanted)

    def _lose_one(self, spec: JobSpec, manifest: Document) -> None:
        """A disk forgets an update right after it was frozen."""
        if self._world.hit("object-lost"):
            entry = manifest["entries"][-1]
            key = keys.split_place(name_of(spec.job, manifest["round"], entry).place)[0]
            if key in self._objects.bodies:
                self._world.kernel.note(f"the disk lost {key}")
                self._objects.lose(key)
                self.lost.add(key)

    def _asked(self, job: str, number: int, plan: int) -> set[str]:
        plans = self._objects.under(keys.plans(job, number))[: plan + 1]
        return {client for key in plans for client in json.loads(self._objects.bodies[key])["clients"]}

    def _entry(self, spec: JobSpec, number: int, entry: Document) -> None:
        client = entry["client"]
        name = name_of(spec.job, number, {**entry, "source": spec.source_of(client)})
        body, key = self.updates.get(name.place), keys.split_place(name.place)[0]
        if body is None or (key not in self._objects.bodies and key not in self.lost):
            self._fail(f"round {number} counts {client} {entry['attempt']}, which is not in the store")
        elif digest(body) != entry["digest"]:
            self._fail(f"round {number} counts {client} with a digest that is not its bytes'")
        elif valid_update(body, name) is None:
            self._fail(f"round {number} counts {client} {entry['attempt']}, which is not valid")
        elif entry["examples"] != examples_of(client):
            self._fail(f"round {number} counts {client} with {entry['examples']} examples")

    def _decided_well(self, spec: JobSpec, number: int, manifest: Document, actor: Actor, *, complete: bool) -> None:
        """Control was read after the last news, and let the job run; no silent client's update was there."""
        self.obeys(spec.job, f"round {number} was frozen", actor)
        for client in () if complete else manifest["silent"]:
            if self._valid_before(spec, number, client, actor.heard):
                self._fail(f"round {number} calls {client} silent, whose update was in the store")

    def obeys(self, job: str, what: str, actor: Actor) -> None:
        if actor.saw_control <= actor.heard:
            self._fail(f"{what} without a look at the control before it")
        if (command := self._in_force(job, actor.saw_control)) not in ("", "resume"):
            self._fail(f"{what} though its leader had read {command}")

    def _in_force(self, job: str, step: int) -> str:
        return next((command for at, command, _ in reversed(self.controls[job]) if at < step), "")

    def _valid_before(self, spec: JobSpec, number: int, client: str, step: int) -> bool:
        """Whether a valid update of the client was in the store before this step."""
        there = self._objects.under(keys.updates(spec.job, number, spec.source_of(client)))
        return any(
            name.client == client
            and name.attempt not in self._world.misannounced
            and self._objects.put_at[key] < step
            and valid_update(self.updates[name.place], name) is not None
            for key in there
            for name in read_updates(key)
        )

    def _checkpoint(self, job: str, file: str, body: bytes) -> None:
        found = _CHECKPOINT.search(file)
        number = int(found[1]) if found else -1
        self._world.kernel.note(f"COMMITTED {job} {number}")
        manifest = self.manifests.get((job, number))
        if manifest is None:
            self._fail(f"checkpoint {number} has no manifest")
        elif body != self._implied(job, number, manifest):
            self._fail(f"checkpoint {number} is not what its manifest implies")
        self.checkpoints[job, number] = body

    def _implied(self, job: str, number: int, manifest: Document) -> bytes | None:
        updates = []
        for entry in manifest["entries"]:
            update = read_update_bytes(self.updates[name_of(job, number, entry).place])
            if update is None:
                return None
            updates.append(update)
        return folded(self.checkpoints.get((job, number - 1)), updates)

    # A job

    def _control(self, job: str, control: Document, actor: Actor | None) -> None:
        command, reason = control["command"], control["reason"]
        self._world.kernel.note(f"CONTROL {job} {command}: {reason}")
        past = self.controls[job]
        if past and past[-1][1] in ENDS:
            self._fail(f"{job} had ended ({past[-1][1]}), and {control['by']} wrote {command}: {reason}")
        if control["by"].startswith("aggregator"):
            self._own_command(self._world.specs[job], command, reason, actor)
        past.append((self._world.kernel.steps, command, reason))

    def _own_command(self, spec: JobSpec, command: str, reason: str, actor: Actor | None) -> None:
        """An aggregator's own pause or end gives a reason that is true."""
        if not reason:
            self._fail(f"{spec.job}: {command} without a reason")
        if command == "done" and (spec.job, spec.rounds) not in self.checkpoints:
            self._fail(f"{spec.job} is done, and round {spec.rounds} is not committed")
        if command in ("pause", "fail") and reason.startswith(("deadline", "hopeless")) and actor is not None:
            number = actor.round
            there = [c for c in spec.client_names if self._valid_before(spec, number, c, actor.heard)]
            asked = self._asked(spec.job, number, 99)
            quorum = spec.quorum_count if number else 1
            frozen_at = self._objects.put_at.get(keys.manifest(spec.job, number))
            if frozen_at is not None and frozen_at < max(actor.saw_manifest, actor.heard):
                self._fail(f"{spec.job}: {command} for round {number}, which is frozen: {reason}")
            if len(asked.intersection(there)) >= quorum:
                self._fail(f"{spec.job}: {command} for want of updates that were in the store: {reason}")

    def _evaluation(self, job: str, evaluation: Document) -> None:
        number = evaluation["round"]
        for client, result in evaluation["clients"].items():
            expected = evaluation_of(client, self.checkpoints[job, number])
            if result != {"examples": examples_of(client), "metrics": expected}:
                self._fail(f"evaluation of round {number}: {client} never said {result}")

    def _awaited(self, spec: JobSpec, number: int) -> bool:
        """Whether somebody may still be asked to evaluate this round's checkpoint."""
        asked = spec.evaluate
        due = asked.every and number and (number % asked.every == 0 or number == spec.rounds)
        nobody = not asked.held_out and not (asked.clients and asked.share)
        frozen = keys.evaluation(spec.job, number) in self._objects.bodies
        return bool(due and not nobody and not frozen and self.status(spec.job)[0] not in ENDS)

    def _final(self, spec: JobSpec, body: bytes) -> None:
        if body != self.checkpoints.get((spec.job, spec.rounds)):
            self._fail(f"{spec.job}: the final model is not the last round's")

    def status(self, job: str) -> tuple[str, str]:
        """The command in force, and its reason."""
        return self.controls[job][-1][1:] if self.controls[job] else ("", "")


def name_of(job: str, number: int, entry: Document) -> UpdateName:
    """Where the update of this entry of a manifest lies, asked for in that round."""
    return UpdateName(job, number, entry["source"], entry["client"], entry["attempt"], entry.get("parcel") or "")
