"""The person at the command line: pauses, resumes and cancels during the storm, and lets jobs go on after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from simulation.checks import ENDS
from simulation.fake_redis import NewsPort
from simulation.fake_store import StorePort
from simulation.faults import Faults

from warren.aggregator.record import Record
from warren.broker.errors import BrokerError
from warren.storage import keys
from warren.storage.documents import Control, write_document
from warren.storage.errors import StorageError

if TYPE_CHECKING:
    from simulation.play import Stage

RESUMES_MAX = 12  # of one job after the storm
RETRY_SECONDS = 0.7
PATIENCE_LOOKS = 4  # a pause stands so long before it is lifted

Command = Literal["pause", "resume", "cancel"]


class Operator:
    """Issues commands as `warren job` does: never to a job that has ended; its nudges may be lost."""

    def __init__(self, stage: Stage, faults: Faults) -> None:
        self._stage = stage
        self._rates = faults.rates
        self._process = stage.kernel.process("operator", mortal=False)
        self._store = StorePort(stage.objects, self._process)
        self._news = NewsPort(stage.streams, self._process)
        self._resumes = dict.fromkeys(stage.world.specs, 0)
        self._seen_paused = dict.fromkeys(stage.world.specs, 0)
        self._mends = False

    def plan(self, storm_seconds: float) -> None:
        """The storm's commands, spans and wipes, each at its time."""
        kernel, world, chance = self._stage.kernel, self._stage.world, self._stage.chance

        def sometime(kind: str, call: Callable[[], None]) -> None:
            for _ in range(int(self._rates[kind])):
                kernel.at(chance.random() ** 2 * storm_seconds, call)

        for server in ("store", "redis", "broker"):
            sometime(f"{server}-down", lambda server=server: world.span(server, chance.uniform(0.5, 15.0)))  # type: ignore[misc]
        sometime("wipe", world.wipe)
        sometime("commands", lambda: self._command_any(chance.choice(("pause", "pause", "resume"))))
        sometime("cancel", lambda: self._command_any("cancel"))

    def mend(self) -> None:
        self._mends = True

    @property
    def gave_up(self) -> bool:
        """Whether each job that is paused was resumed as often as anybody would."""
        return self._mends and all(
            count >= RESUMES_MAX or self._stage.checks.status(job)[0] in ENDS for job, count in self._resumes.items()
        )

    def look(self) -> None:
        """After the storm: lift a pause that has stood for a while."""
        if not self._mends:
            return
        for job in self._resumes:
            paused = self._stage.checks.status(job)[0] == "pause"
            self._seen_paused[job] = self._seen_paused[job] + 1 if paused else 0
            if self._seen_paused[job] >= PATIENCE_LOOKS and self._resumes[job] < RESUMES_MAX:
                self._resumes[job] += 1
                self._seen_paused[job] = 0
                self._command(job, "resume")

    def _command_any(self, command: Command) -> None:
        self._command(self._stage.chance.choice(sorted(self._resumes)), command)

    def _command(self, job: str, command: Command) -> None:
        self._stage.kernel.spawn(self._process, f"{command}s", lambda: self._carry_out(job, command))

    def _carry_out(self, job: str, command: Command) -> None:
        record = Record(self._store, job)
        while True:
            try:
                state = record.control()
                if state.command == ("run" if command == "resume" else command) or state.command in ENDS:
                    return
                document = write_document(Control(command=command, reason="by hand", by="somebody"))
                if self._store.create(keys.control(job, state.number + 1), document):
                    break
            except StorageError:
                self._process.stop.wait(RETRY_SECONDS)
        try:
            self._news.nudge(job)
        except BrokerError:
            return
