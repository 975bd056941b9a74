"""What must hold when the storm is over and all has settled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulation.fake_bytes import FakeUpdate, examples_of, folded, next_state, trained_value

from warren.aggregator.plan import first_plan
from warren.storage import keys
from warren.storage.job import JobSpec
from warren.storage.rules import rule_of

if TYPE_CHECKING:
    from simulation.play import Stage

UNSETTLED_SECONDS = 60.0  # longer than any work of a run takes


def check_end(stage: Stage) -> None:
    for spec in stage.scene.specs:
        _check_job(stage, spec)
    for queue, seconds in stage.held:
        if seconds > UNSETTLED_SECONDS:
            stage.kernel.fail(f"a message of {queue} was held for {seconds:.0f} s and never settled")


def _check_job(stage: Stage, spec: JobSpec) -> None:
    command, reason = stage.checks.status(spec.job)
    fail = stage.kernel.fail
    if command in ("pause", "fail") and not reason:
        fail(f"{spec.job} ended in {command} and gives no reason")
    if command == "pause" and not _may_stay_paused(stage, spec):
        fail(f"{spec.job} is paused for good: {reason}")
    if command == "done":
        if keys.derived(spec.job, "final.safetensors") not in stage.objects.bodies:
            fail(f"{spec.job} is done without a final model")
        if stage.scene.exact and "different-bytes" not in stage.faults.on:
            expected = undisturbed(spec)
            if stage.checks.checkpoints[spec.job, spec.rounds] != expected:
                fail(f"{spec.job}: the final bytes are not an undisturbed run's")


def _may_stay_paused(stage: Stage, spec: JobSpec) -> bool:
    """Only where the disk lost what was frozen can no resume help."""
    return any(key.split("/")[1] == spec.job for key in stage.checks.lost)


def undisturbed(spec: JobSpec) -> bytes:
    """The final bytes where every client that was planned answers, in a few lines of their own."""
    model = folded(None, [FakeUpdate(spec.job, 0, "", "", trained_value(spec.seed, 0, "", b""), 1)])
    kept: dict[str, bytes] = {}
    for number in range(1, spec.rounds + 1):
        updates = []
        for client in first_plan(spec, number, None).clients:
            before = kept.get(client, b"")
            value = trained_value(spec.seed, number, client, model + before)
            updates.append(FakeUpdate(spec.job, number, client, "", value, examples_of(client)))
            if rule_of(spec).keeps != "nothing":
                kept[client] = next_state(before, client, number, value)
        model = folded(model, updates)
    return model
