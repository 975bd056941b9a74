"""How a flow moves: every rule of asking, giving up, freezing and pausing, and nothing else. No I/O, no clock.

    new --Opened--> looking --Looked--> open --(full)--> looking --Looked--> frozen --> committed: the next version
                       |   \\--(somebody to ask)--> AskAnew --Planned--> Publish --/
                       +--(paused)--> paused --(resumed)--> looking

As in a round: nothing is published and nothing frozen without a look at the control documents just before; no
client is given up, and no job paused for want of clients, without a look at the store as well.

Who is out is written down before anybody is asked: each plan of a version names all of them. An ask is counted by
the round after the version that it started from, and a client is asked again only when its ask counted or came to
nothing: so no two updates of a client have the same round, and plans less manifests say who is out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..events import (
    Answers,
    Controlled,
    ControlState,
    Freeze,
    Look,
    Looked,
    Opened,
    Publish,
    Reconnected,
    Ticked,
    Wiped,
    Write,
    WriteControl,
    Written,
)
from .asking import PLANS_MAX, chosen, clocks_after, full, left, next_clients
from .counting import at_rest, bases_of, count, forgive, give_up
from .events import Ask, AskAnew, Counted, Effect, Event, Flow, FlowStep, Planned


def advance(flow: Flow, event: Event, now: float) -> FlowStep:
    """The one entry: what this event does to the flow at this time.

    An event that has no rule in the flow's phase changes nothing.

    Args:
        flow: the state; not changed.
        event: what was heard.
        now: seconds of the ledger's clock.
    """
    rule = RULES.get((flow.phase, type(event)))
    return rule(flow, event, now) if rule else FlowStep(flow)


def on_opened(flow: Flow, event: Opened, now: float) -> FlowStep:
    """The next version begins; who takes a job over asks all who are out again."""
    if event.fresh:
        return _look(flow, store=False)
    return _look(_to_publish(flow), store=True, reason="taken over")


def on_answers(flow: Flow, event: Answers, now: float) -> FlowStep:
    told = flow
    for answer in event.answers:
        told = count(told, answer)
    return consider(told, now) if told.phase == "open" else FlowStep(told)


def on_looked(flow: Flow, event: Looked, now: float) -> FlowStep:
    """The look is done: obey the control, then do the first that is due: ask anew, publish, freeze."""
    stop = obey(flow, event.control)
    if stop is not None:
        return stop
    looked = flow.looked_at_store
    flow = replace(flow, phase="open", looked_at_store=False)
    if looked:
        flow = give_up(flow, now)
    if due_to_plan(flow):
        return plan_anew(flow)
    if flow.to_publish:
        return publish(flow, now)
    return close(flow, now, looked)


def consider(flow: Flow, now: float) -> FlowStep:
    """An open flow: is there cause to ask, to freeze, or to act on too few? Then look first."""
    cause = cause_to_act(flow, now)
    if cause is None and not due_to_plan(flow) and not flow.to_publish:
        return FlowStep(flow)
    return _look(flow, store=cause in ("deadline", "hopeless"))


def cause_to_act(flow: Flow, now: float) -> str | None:
    """Why the flow should be acted on now; None: wait."""
    hopeless = left(flow) < max(flow.rules.quorum, flow.rules.takes)
    if full(flow) and (flow.rules.takes or not hopeless):
        return "full"
    if hopeless:
        return "hopeless"
    return "deadline" if flow.deadline is not None and now >= flow.deadline else None


def close(flow: Flow, now: float, looked: bool) -> FlowStep:
    """After a look, with nobody to ask: freeze, or let the job's policy speak, or go on waiting."""
    cause = cause_to_act(flow, now)
    if cause is None:
        return FlowStep(flow)
    if cause == "full":
        return freeze(flow)
    if cause == "deadline" or not looked:
        return _look(flow, store=True)
    return BELOW_QUORUM[flow.rules.below_quorum](flow, f"hopeless: {flow.tally}{flow.trouble}", now)


def freeze(flow: Flow) -> FlowStep:
    clients = chosen(flow)
    oldest = min(flow.ready[client].base for client in clients)
    reason = f"{flow.rules.kind}: {flow.tally}; staleness up to {flow.version - 1 - oldest}"
    return FlowStep(replace(flow, phase="looking"), (Freeze(clients, reason),), reason)


def on_counted(flow: Flow, event: Counted, now: float) -> FlowStep:
    """Whoever made the manifest: it is the version's, and a frozen version is always finished."""
    clocks = clocks_after(flow, event.bases, {*flow.lost, *event.lost})
    over = {*event.bases, *event.lost}
    after = replace(
        flow,
        phase="frozen",
        clocks=clocks,
        out={c: ask for c, ask in flow.out.items() if c not in over},
        ready={c: ready for c, ready in flow.ready.items() if c not in over},
    )
    return FlowStep(after, (Write(),), f"frozen with {len(event.bases)} updates")


def on_written(flow: Flow, event: Written, now: float) -> FlowStep:
    """The next version is to be made: whoever was lost may be asked again."""
    after = replace(
        flow, version=flow.version + 1, phase="committed", plan=-1, listed={}, lost={}, buried={}, extensions=0
    )
    return FlowStep(after, (), "committed")


# Asking


def due_to_plan(flow: Flow) -> bool:
    """Whether somebody may be asked whom no plan of this version names, or there is no plan yet."""
    return flow.plan < 0 or (flow.plan < PLANS_MAX and bool(next_clients(flow)))


def plan_anew(flow: Flow) -> FlowStep:
    """Write down who is out before asking: those who are, those whose update waits, and those who may go on."""
    more = dict.fromkeys(next_clients(flow), flow.version - 1)
    effect = AskAnew(flow.plan + 1, bases_of(flow) | more, flow.clocks)
    return FlowStep(replace(flow, phase="looking"), (effect,))


def on_planned(flow: Flow, event: Planned, now: float) -> FlowStep:
    """What the plan says stands: who is new is asked, and nobody else is out."""
    standing = event.bases.items()
    out = {c: ask for c, ask in flow.out.items() if (c, ask.base) in standing}
    ready = {c: one for c, one in flow.ready.items() if (c, one.base) in standing}
    lost = {c: one for c, one in flow.lost.items() if c not in event.bases or (c, one.base) in standing}
    new = {c: Ask(base) for c, base in standing if not (c in out or c in ready or c in lost)}
    planned = replace(
        flow,
        plan=event.number,
        listed=dict(event.bases),
        clocks=dict(event.clocks),
        out=out | new,
        ready=ready,
        lost=lost,
        to_publish=(flow.to_publish & out.keys()) | new.keys(),
        again=flow.again or event.number > 0 or not event.ours,
    )
    return publish(planned, now)


def publish(flow: Flow, now: float) -> FlowStep:
    """Ask, each with a deadline of its own; then see whether there is cause to act at once."""
    due = tuple(sorted(flow.to_publish & flow.out.keys()))
    until = now + flow.rules.deadline_seconds
    out = {**flow.out, **{client: replace(flow.out[client], deadline=until) for client in due}}
    asked = replace(flow, phase="open", out=out, to_publish=frozenset(), again=False)
    after = consider(asked, now)
    effects: tuple[Effect, ...] = (Publish(due, again=flow.again),) if due else ()
    return FlowStep(after.flow, (*effects, *after.effects), f"asked {len(due)} clients" if due else "")


# What to do with too few


def extend(flow: Flow, why: str, now: float) -> FlowStep:
    """Ask all who were lost once more, each with a new deadline."""
    if flow.extensions >= flow.rules.max_extensions:
        return pause(flow, f"{why}; extended {flow.extensions} times, the most allowed (max_extensions)", now)
    extended = forgive(replace(flow, extensions=flow.extensions + 1))
    step = plan_anew(extended) if due_to_plan(extended) else publish(extended, now)
    return replace(step, reason=f"extended: {why}")


def pause(flow: Flow, why: str, now: float) -> FlowStep:
    return FlowStep(at_rest(flow, "paused"), (WriteControl("pause", why),), f"paused: {why}")


def fail(flow: Flow, why: str, now: float) -> FlowStep:
    return FlowStep(at_rest(flow, "ended"), (WriteControl("fail", why),), f"failed: {why}")


BELOW_QUORUM: dict[str, Callable[[Flow, str, float], FlowStep]] = {"extend": extend, "pause": pause, "fail": fail}


# Control and disturbances


def obey(flow: Flow, control: ControlState) -> FlowStep | None:
    """What the control documents demand of a version that is not frozen; None: go on."""
    if control.command == "pause":
        why = f"paused: {control.reason}" if control.reason else "paused"
        return FlowStep(at_rest(flow, "paused"), (), "" if flow.phase == "paused" else why)
    if control.command != "run":
        return FlowStep(at_rest(flow, "ended"), (), f"{control.command}: {control.reason}")
    return None


def on_controlled(flow: Flow, event: Controlled, now: float) -> FlowStep:
    """A running flow hears of a pause or an end; a paused one of a resume: it asks again all who are out or lost."""
    stop = obey(flow, event.control)
    if stop is not None:
        return stop
    if flow.phase != "paused":
        return FlowStep(flow)
    return _look(_to_publish(forgive(replace(flow, extensions=0))), store=True, reason="resumed")


def on_wiped(flow: Flow, event: Wiped, now: float) -> FlowStep:
    return _look(_to_publish(flow), store=True, reason="Redis was wiped: asking again")


def on_reconnected(flow: Flow, event: Reconnected, now: float) -> FlowStep:
    return _look(flow, store=True, reason="Redis answers again: looking for missed updates")


def on_ticked(flow: Flow, event: Ticked, now: float) -> FlowStep:
    return consider(flow, now)


# Parts


def _look(flow: Flow, *, store: bool, reason: str = "") -> FlowStep:
    return FlowStep(replace(flow, phase="looking", looked_at_store=store), (Look(store=store),), reason)


def _to_publish(flow: Flow) -> Flow:
    return replace(at_rest(flow, flow.phase), to_publish=frozenset(flow.out), again=True)


RULES: dict[tuple[str, type], Callable[[Flow, Any, float], FlowStep]] = {
    ("new", Opened): on_opened,
    ("committed", Opened): on_opened,
    ("looking", Answers): on_answers,
    ("looking", Looked): on_looked,
    ("looking", Planned): on_planned,
    ("looking", Controlled): on_controlled,
    ("looking", Counted): on_counted,
    ("open", Answers): on_answers,
    ("open", Ticked): on_ticked,
    ("open", Wiped): on_wiped,
    ("open", Reconnected): on_reconnected,
    ("open", Controlled): on_controlled,
    ("paused", Answers): on_answers,
    ("paused", Controlled): on_controlled,
    ("paused", Counted): on_counted,
    ("ended", Counted): on_counted,
    ("frozen", Written): on_written,
}
