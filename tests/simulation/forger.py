"""Somebody who may append to a stream says what is not so: unreadable, for another client, for what never was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warren.broker.messages import Completion, encode

if TYPE_CHECKING:
    from simulation.play import Stage


class Forger:
    """Appends nonsense to the streams while the storm lasts."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def forge(self) -> None:
        world, chance = self._stage.world, self._stage.chance
        if not world.hit("news-forged"):
            return
        spec = self._stage.scene.specs[0]
        source, client = chance.choice(spec.sources), chance.choice(spec.client_names)
        said = {"job": spec.job, "round": chance.randint(0, spec.rounds), "client": client, "attempt": "forged"}
        kind, outcome = chance.choice((("train", "updated"), ("evaluate", "evaluated"), ("train", "failed")))
        if spec.sites and source.removeprefix("site.") == client:
            kind, outcome = "train", "updated"  # of itself a site may say what it likes
        elif not spec.sites:
            said |= {"client": "nobody"} if outcome != "updated" else {}
        completion = Completion.model_validate(
            {**said, "kind": kind, "outcome": outcome, "examples": 10**9, "metrics": {"accuracy": 9.0}}
        )
        body = encode(completion) if chance.random() < 0.7 else b"\xc1nonsense"
        world.kernel.note(f"forged on {source}: {outcome} {said['client']}")
        self._stage.streams.append(spec.job, source, body)
