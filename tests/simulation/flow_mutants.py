"""Promises of asynchronous jobs, each broken on purpose: what the simulation of flows must catch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from warren.aggregator.events import Answers, Opened
from warren.aggregator.flow import asking, leader, rules
from warren.aggregator.flow.carrying import FlowCarrier
from warren.aggregator.flow.events import AskAnew, Counted, Event, Flow, FlowStep, Planned
from warren.aggregator.flow.retention import Needed
from warren.storage.keys import UpdateName

Patch = tuple[Any, str, Any]
Rule = Callable[[Flow, Any, float], FlowStep]


def who_is_out_is_written_down_first() -> Sequence[Patch]:
    def ask(self: FlowCarrier, effect: AskAnew, flow: Flow) -> list[Event]:
        return [Planned(effect.number, effect.bases, effect.clocks, ours=True)]

    return [(FlowCarrier, "_DOING", {**FlowCarrier._DOING, AskAnew: ask})]


def an_ask_is_over_when_it_counts() -> Sequence[Patch]:
    def counted(flow: Flow, event: Counted, now: float) -> FlowStep:
        step = rules.on_counted(flow, event, now)
        return replace(step, flow=replace(step.flow, ready=flow.ready))

    return [(rules, "RULES", {**rules.RULES, ("looking", Counted): counted})]


def another_leaders_plan_stands() -> Sequence[Patch]:
    """Who loses the plan goes on with its own."""

    def ask(self: FlowCarrier, effect: AskAnew, flow: Flow) -> list[Event]:
        FlowCarrier._ask_anew(self, effect, flow)
        return [Planned(effect.number, effect.bases, effect.clocks, ours=True)]

    return [(FlowCarrier, "_DOING", {**FlowCarrier._DOING, AskAnew: ask})]


def starts_of_who_is_out_stay() -> Sequence[Patch]:
    return [(Needed, "bases", property(lambda self: frozenset()))]


def updates_that_may_still_count_stay() -> Sequence[Patch]:
    def why_not(self: Needed, name: UpdateName) -> str | None:
        return None if (name.client, name.attempt, name.round) in self.counted else "it does not count"

    return [(Needed, "why_not", why_not)]


def the_bound_of_ssp() -> Sequence[Patch]:
    return [(asking, "_within_bound", lambda flow, clocks, clients: tuple(clients))]


def control_before_a_version_is_frozen() -> Sequence[Patch]:
    def answers(flow: Flow, event: Answers, now: float) -> FlowStep:
        step = rules.on_answers(flow, event, now)
        return rules.freeze(step.flow) if asking.full(step.flow) else step

    return [(rules, "RULES", {**rules.RULES, ("open", Answers): answers})]


def control_obeyed_by_a_flow() -> Sequence[Patch]:
    return [(rules, "obey", lambda flow, control: None)]


def floors_are_the_clients_own() -> Sequence[Patch]:
    """Trainers are told that only the newest version's asks are wanted."""

    def progress(flow: Flow) -> dict[str, str]:
        told = told_by(flow)
        return {**told, "floors": f'{{"*":{flow.version}}}'} if "floors" in told else told

    told_by = leader.progress_of  # type: ignore[attr-defined]
    return [(leader, "progress_of", progress)]


def a_taken_over_flow_looks_and_asks_again() -> Sequence[Patch]:
    def opened(flow: Flow, event: Any, now: float) -> FlowStep:
        return rules.on_opened(flow, replace(event, fresh=True), now)

    return [(rules, "RULES", {**rules.RULES, ("new", Opened): opened})]


FLOW_MUTANTS = (
    who_is_out_is_written_down_first,
    an_ask_is_over_when_it_counts,
    another_leaders_plan_stands,
    starts_of_who_is_out_stay,
    updates_that_may_still_count_stay,
    the_bound_of_ssp,
    control_before_a_version_is_frozen,
    control_obeyed_by_a_flow,
    floors_are_the_clients_own,
    a_taken_over_flow_looks_and_asks_again,
)
