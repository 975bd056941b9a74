"""An asynchronous job without any I/O: carries out what the flow wants at once, and remembers it."""

from __future__ import annotations

from collections import deque
from typing import Any

from warren.aggregator.events import (
    Answer,
    Answers,
    Controlled,
    ControlState,
    Freeze,
    Look,
    Looked,
    Opened,
    Publish,
    Ticked,
    Write,
    WriteControl,
    Written,
)
from warren.aggregator.flow.events import AskAnew, Counted, Effect, Event, Flow, Planned, rules_of
from warren.aggregator.flow.rules import advance
from warren.storage.job import JobSpec, make_spec

Ask = tuple[str, int]  # client, and the version that it started from


def flow_spec(kind: str, clients: int = 4, **fields: Any) -> JobSpec:
    """A job; what is an option of the schedule goes there."""
    own = {key: fields.pop(key) for key in ("staleness", "buffer") if key in fields}
    task = {"name": "t", "file": "t.py", "digest": "0" * 64}
    given: dict[str, Any] = {"job": "j", "task": task, "clients": clients, "schedule": {"kind": kind, **own}, **fields}
    return make_spec({"deadline_seconds": 60.0} | given)


class FlowDesk:
    """One job from version 1 on."""

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.now = 0.0
        self.control = ControlState()
        self.flow = Flow(1, rules_of(spec))
        self.versions: list[dict[str, int]] = []  # of each version made: client -> base
        self.published: list[tuple[tuple[Ask, ...], bool]] = []
        self.effects: list[Effect] = []
        self.plans: list[AskAnew] = []
        self.feed(Opened(True, self.control))

    def feed(self, *events: Event) -> list[Effect]:
        """What comes of it, all carried out; the effects of this call."""
        heard: deque[Event] = deque(events)
        self.effects = []
        while heard:
            step = advance(self.flow, heard.popleft(), self.now)
            self.flow = step.flow
            for effect in reversed(step.effects):
                heard.extendleft(reversed(self._carry_out(effect)))
            self.effects += step.effects
            if self.flow.phase == "committed" and not heard:
                heard.append(Opened(True, self.control))
        return self.effects

    def answer(self, *clients: str, outcome: Any = "valid", attempt: str = "") -> list[Effect]:
        """Each of these clients answers what it was asked last."""
        said = []
        for client in clients:
            found = self.flow.out.get(client) or self.flow.lost.get(client) or self.flow.ready.get(client)
            assert found is not None, f"{client} was not asked"
            said.append(Answer(client, outcome, attempt or f"x{client}", "why", round=found.base + 1))
        return self.feed(Answers(tuple(said)))

    def wait(self, seconds: float) -> list[Effect]:
        self.now += seconds
        return self.feed(Ticked())

    def command(self, command: Any) -> list[Effect]:
        self.control = ControlState(command, self.control.number + 1)
        return self.feed(Controlled(self.control))

    @property
    def out(self) -> dict[str, int]:
        return {client: ask.base for client, ask in self.flow.out.items()}

    def _carry_out(self, effect: Effect) -> list[Event]:
        match effect:
            case Look():
                return [Looked(self.control)]
            case AskAnew():
                self.plans.append(effect)
                return [Planned(effect.number, effect.bases, effect.clocks, ours=True)]
            case Publish():
                self.published.append((tuple((c, self.flow.out[c].base) for c in effect.clients), effect.again))
            case Freeze():
                self.versions.append({client: self.flow.ready[client].base for client in effect.clients})
                return [Counted(self.versions[-1], frozenset(self.flow.lost))]
            case Write():
                return [Written()]
            case WriteControl():
                self.control = ControlState(effect.command, self.control.number + 1, effect.reason)
        return []
