"""What the store says of a job: its control, its highest manifest, its plans. The store is the truth."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..storage import keys
from ..storage.documents import Control, Manifest, Plan, read_document, write_document
from ..storage.job import JobSpec, read_spec
from ..storage.objects import ObjectStore
from .events import Command, ControlState

JSON = "application/json"
ENDS = ("cancel", "fail", "done")
CONTROLS_MAX = 99_999  # five digits in the key


@dataclass(slots=True)
class Record:
    """One job's documents. Keeps what can never change once read: a control that was seen, nothing else."""

    store: ObjectStore
    job: str
    _highest: ControlState = field(default_factory=ControlState)

    def spec(self) -> JobSpec:
        return read_spec(self.store.read(keys.spec(self.job)))

    def control(self) -> ControlState:
        """The command in force: the highest control document's."""
        last = None
        seen = keys.control(self.job, self._highest.number) if self._highest.number else ""
        for info in self.store.list(keys.controls(self.job), after=seen):
            last = info.key
        if last is not None:
            number = int(last.removeprefix(keys.controls(self.job)).removesuffix(".json"))
            found = control_state(read_document(Control, self.store.read(last), last), number)
            if number > self._highest.number:  # another thread may have read a later one meanwhile
                self._highest = found
        return self._highest

    @property
    def last_control(self) -> ControlState:
        """The command as it was last read here: no word on what came since."""
        return self._highest

    def command(self, command: Control) -> ControlState:
        """Add a control document after the highest; if another came first, theirs stands: the state then says so.

        A job that has ended stays so: nothing is written after its end.
        """
        current = self.control()
        if current.command in ENDS:
            return current
        number = current.number + 1
        if self.store.create(keys.control(self.job, number), write_document(command), content_type=JSON):
            self._highest = control_state(command, number)
            return self._highest
        return self.control()

    def highest_manifest(self) -> int | None:
        """The number of the last frozen round; None before any."""
        last = None
        for info in self.store.list(keys.manifests(self.job)):
            last = info.key
        return None if last is None else int(last.removeprefix(keys.manifests(self.job)).removesuffix(".json"))

    def manifest(self, round_number: int) -> Manifest:
        key = keys.manifest(self.job, round_number)
        return read_document(Manifest, self.store.read(key), key)

    def freeze(self, manifest: Manifest) -> Manifest:
        """Create the manifest; whoever loses goes on with the winner's, which is returned."""
        key = keys.manifest(self.job, manifest.round)
        if self.store.create(key, write_document(manifest), content_type=JSON):
            return manifest
        return self.manifest(manifest.round)

    def frozen(self, round_number: int) -> bool:
        return self.store.stat(keys.manifest(self.job, round_number)) is not None

    def committed(self, round_number: int) -> bool:
        return self.store.stat(keys.checkpoint(self.job, round_number)) is not None

    def last_plan(self, round_number: int) -> Plan | None:
        last = None
        for info in self.store.list(keys.plans(self.job, round_number)):
            last = info.key
        return None if last is None else read_document(Plan, self.store.read(last), last)

    def settle_plan(self, plan: Plan) -> tuple[Plan, bool]:
        """Create the plan; the plan that stands, and whether it is ours."""
        key = keys.plan(self.job, plan.round, plan.number)
        if self.store.create(key, write_document(plan), content_type=JSON):
            return plan, True
        return read_document(Plan, self.store.read(key), key), False


def control_state(control: Control, number: int) -> ControlState:
    command: Command = "run" if control.command == "resume" else control.command
    return ControlState(command, number, control.reason)
