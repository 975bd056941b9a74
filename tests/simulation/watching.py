"""What must hold of messages: asked only after a look at the control, acknowledged only when something came of it."""

from __future__ import annotations

from collections.abc import Sequence

from simulation.checks import Checks
from simulation.flow_checks import FlowChecks
from simulation.kernel import Actor, Process
from simulation.world import Letter, World

from warren.broker.ports import Outgoing
from warren.broker.topology import rounds_queue

_ROUNDS = rounds_queue("")


class Watching:
    """Checks each publication and each acknowledgement of a round job."""

    def __init__(self, world: World, checks: Checks) -> None:
        self._world = world
        self._checks = checks
        world.acked = self.acked
        world.published = self.published

    def published(self, messages: Sequence[Outgoing], actor: Actor | None) -> None:
        if actor is not None and messages and messages[0].queue.startswith(_ROUNDS):
            job, number = messages[0].headers["job"], messages[0].headers["round"]
            self._checks.obeys(job, f"round {number} was asked", actor)

    def acked(self, letter: Letter, queue: str, process: Process) -> None:
        """A trainer is done with a training job: its update or failure is told, or nobody wants it any more."""
        if not queue.startswith(_ROUNDS):
            return
        job, number, client = letter.headers["job"], int(letter.headers["round"]), letter.headers["client"]
        stored = (job, number, client) in self._checks.given
        told = (job, number, client) in self._world.said_failed
        over = self._over(job, number, client) or bool(self._checks.controls[job])
        if not (stored or told or over):
            self._world.kernel.fail(f"{process.name} acknowledged {client} of round {number}, and gave nothing")

    def _over(self, job: str, number: int, client: str) -> bool:
        """Whether nobody waits for this client's part in the round."""
        if not (number and isinstance(self._checks, FlowChecks)):
            return (job, number) in self._checks.manifests
        counted = self._checks.version_of(job, client, number) is not None
        return counted or (client, number - 1) not in self._checks.standing(job)
