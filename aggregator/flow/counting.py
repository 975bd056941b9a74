"""How answers, deadlines and forgiveness change who is out, ready or lost. No I/O, no decision."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from ..events import Answer
from .events import Ask, Flow, Lost, Phase, Ready


def give_up(flow: Flow, now: float) -> Flow:
    """Who gave no answer by its deadline is not waited for: it may be asked again for the next version."""
    late = [c for c, ask in flow.out.items() if ask.deadline is not None and now >= ask.deadline]
    why = f"no answer in {flow.rules.deadline_seconds:g} s"
    lost = {client: Lost(flow.out[client].base, "silent", why) for client in late}
    return replace(flow, out={c: a for c, a in flow.out.items() if c not in lost}, lost={**flow.lost, **lost})


def bases_of(flow: Flow) -> dict[str, int]:
    """Every ask that may still count."""
    out = {client: ask.base for client, ask in flow.out.items()}
    return {**out, **{client: ready.base for client, ready in flow.ready.items()}}


def count(flow: Flow, answer: Answer) -> Flow:
    """The first valid attempt of an ask counts; a success replaces a failure, while the plan names its client.

    Once it does not, the ask is over for good: its update may be collected.
    """
    client = answer.client
    ask = flow.out.get(client) or (flow.lost.get(client) if client in flow.listed else None)
    if ask is None or ask.base + 1 != answer.round:
        return flow
    lost = {c: one for c, one in flow.lost.items() if c != client}
    out = {c: one for c, one in flow.out.items() if c != client}
    if answer.outcome == "valid":
        return replace(flow, out=out, lost=lost, ready={**flow.ready, client: Ready(ask.base, answer.attempt)})
    if client in flow.lost:
        return flow
    if answer.outcome == "dead" and flow.buried.get(client, answer.attempt) == answer.attempt:
        # published once more: the next dead letter of its client is a failure
        fresh = client not in flow.buried
        asking = {client} if fresh else set()
        buried = {**flow.buried, client: answer.attempt}
        return replace(flow, buried=buried, to_publish=flow.to_publish | asking, again=flow.again or fresh)
    how: Literal["rejected", "failed"] = "rejected" if answer.outcome == "rejected" else "failed"
    return replace(flow, out=out, lost={**lost, client: Lost(ask.base, how, answer.reason)})


def forgive(flow: Flow) -> Flow:
    """Whoever was lost is out again, for the same; whom the plan no longer names may be asked anew."""
    back = {client: Ask(one.base) for client, one in flow.lost.items() if client in flow.listed}
    to_publish = flow.to_publish | back.keys()
    return replace(flow, lost={}, buried={}, out={**flow.out, **back}, to_publish=to_publish, again=True)


def at_rest(flow: Flow, phase: Phase) -> Flow:
    """No deadline runs."""
    return replace(flow, phase=phase, out={client: Ask(ask.base) for client, ask in flow.out.items()})
