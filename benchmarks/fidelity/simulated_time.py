"""An asynchronous job in simulated time: Warren's own rules and sums over clients that take as long as they are told.

No servers and no files: the flow's pure machine (`aggregator/flow/rules.py`) is fed with answers in the order of
a simulated clock, and what it freezes goes through the fold, the schedule's rule and the job's strategy. From the
seed alone follows which update meets which version, so that runs can be compared pair by pair.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from warren.aggregator.events import (
    Answer,
    Answers,
    ControlState,
    Freeze,
    Look,
    Looked,
    Opened,
    Publish,
    Write,
    Written,
)
from warren.aggregator.flow.events import AskAnew, Counted, Effect, Event, Flow, Planned, rules_of
from warren.aggregator.flow.rules import advance
from warren.aggregator.fold import fold
from warren.aggregator.merging import merge
from warren.aggregator.staleness import staleness, weight_of
from warren.aggregator.strategies.average import Average
from warren.aggregator.strategies.registry import load, options_of
from warren.storage.documents import Entry, Manifest
from warren.storage.job import JobSpec

RUN = ControlState()
Train = Callable[[str, int, torch.Tensor], torch.Tensor]  # client, which of its updates, weights -> update
Seconds = Callable[[str, int], float]  # client, which of its updates -> how long until it is in

MODEL = "model"  # all weights in one tensor: rules look at no other structure


class SimulatedJob:
    """One job whose model is one flat tensor."""

    def __init__(self, spec: JobSpec, weights: torch.Tensor, train: Train, seconds: Seconds) -> None:
        """Start version 1.

        Args:
            spec: asynchronous; `ssp` with a staleness of 0 is the synchronous job.
            weights: (n,) float32, of version 0.
            train: what a client sends, from the weights that it started from.
            seconds: from asking to the update's arrival.
        """
        self.now = 0.0
        self.version = 0
        self.weights = weights
        self.counted: list[int] = []  # staleness of each update that counted
        self._spec = spec
        self._train = train
        self._seconds = seconds
        self._strategy = load(spec)
        self._state: dict[str, torch.Tensor] = {}
        self._models = {0: weights}  # by version, while somebody is out from there
        self._nth = dict.fromkeys(spec.client_names, 0)
        self._due: list[tuple[float, int, str, int]] = []  # arrival, order of asking, client, base
        self._asked = 0
        self._arrived: dict[str, torch.Tensor] = {}
        self._flow = Flow(1, rules_of(spec))
        self._feed(Opened(True, RUN))

    def run(self) -> Iterator[float]:
        """Advance by one arrival at a time; the simulated time of each."""
        while self._due and self.version < self._spec.rounds:
            self.now, _, client, base = heapq.heappop(self._due)
            self._nth[client] += 1
            self._arrived[client] = self._train(client, self._nth[client], self._models[base])
            self._feed(Answers((Answer(client, "valid", "x", round=base + 1),)))
            yield self.now

    def _feed(self, event: Event) -> None:
        heard: deque[Event] = deque([event])
        while heard:
            step = advance(self._flow, heard.popleft(), self.now)
            self._flow = step.flow
            for effect in step.effects:
                heard.extend(self._carry_out(effect))
            if self._flow.phase == "committed" and self.version < self._spec.rounds:
                heard.append(Opened(True, RUN))

    def _carry_out(self, effect: Effect) -> list[Event]:
        match effect:
            case Look():
                return [Looked(RUN)]
            case AskAnew():
                return [Planned(effect.number, effect.bases, effect.clocks, ours=True)]
            case Publish():
                for client in effect.clients:
                    self._ask(client, self._flow.out[client].base)
            case Freeze():
                return [self._freeze(effect.clients)]
            case Write():
                return [Written()]
        return []

    def _ask(self, client: str, base: int) -> None:
        self._asked += 1
        arrival = self.now + self._seconds(client, self._nth[client] + 1)
        heapq.heappush(self._due, (arrival, self._asked, client, base))

    def _freeze(self, clients: tuple[str, ...]) -> Counted:
        bases = {client: self._flow.ready[client].base for client in clients}
        blank = Entry(client="x", source="pool.default", attempt="x", digest="0" * 64, size=0, examples=1)
        entries = tuple(replace(blank, client=client, base=bases[client]) for client in clients)
        manifest = Manifest(job=self._spec.job, round=self.version + 1, entries=entries)
        stale = [staleness(manifest, entry) for entry in entries]
        weights = [weight_of(self._spec, entry, t) for entry, t in zip(entries, stale, strict=True)]
        total = torch.zeros_like(self.weights)
        fold(total, [self._arrived.pop(client) for client in clients], weights)
        averages = {MODEL: total.div_(sum(weights))}
        merge(self._spec, manifest, averages, {MODEL: self.weights}, {MODEL})
        options = options_of(self._spec, manifest.round)
        before = {MODEL: self.weights}
        state = self._state or self._strategy.init(before, options)
        self._state, new = self._strategy.apply(
            state, before, Average(self._spec.update, averages), options, manifest.round
        )
        self.version += 1
        self.weights = new[MODEL]
        self.counted += stale
        wanted = {base for _, _, _, base in self._due} | {ready.base for ready in self._flow.ready.values()}
        self._models = {v: model for v, model in self._models.items() if v in wanted} | {self.version: self.weights}
        return Counted(bases)
