"""How a round moves: every rule of asking, closing and pausing, and nothing else. No I/O, no clock.

    new --Opened--> looking --Looked--> open --(closes)--> looking --Looked--> frozen --> committed
                       |                  ^  \\--(below quorum)--> open again | paused | ended
                       +--(paused)--> paused --(resumed)--> looking

Nothing is published and nothing frozen without a look at the control documents just before; nothing is
decided at a deadline, or for want of clients, without a look at the store as well (news may be lost).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from .events import (
    Answer,
    Answers,
    Controlled,
    ControlState,
    DeadlineStarted,
    Effect,
    Event,
    Freeze,
    Frozen,
    Look,
    Looked,
    Opened,
    Publish,
    Reconnected,
    Resample,
    Resampled,
    Round,
    StartDeadline,
    Step,
    Ticked,
    Wiped,
    Write,
    WriteControl,
    Written,
)


def advance(round: Round, event: Event, now: float) -> Step:
    """The one entry: what this event does to the round at this time.

    An event that has no rule in the round's phase changes nothing: late news, a tick of a paused round.

    Args:
        round: the state; not changed.
        event: what was heard.
        now: seconds of the ledger's clock.
    """
    rule = RULES.get((round.phase, type(event)))
    return rule(round, event, now) if rule else Step(round)


def on_opened(round: Round, event: Opened, now: float) -> Step:
    opened = replace(round, extensions=event.extensions, generation=event.control.number)
    return _ask(opened, round.asked, again=not event.fresh, reason="opened" if event.fresh else "taken over")


def on_answers(round: Round, event: Answers, now: float) -> Step:
    """Count each asked client once; then see whether that closes the round."""
    told = _count(round, event.answers)
    newly = told.buried.keys() - round.buried.keys()
    if newly and told.phase == "open":
        why = f"published once more after a dead letter: {_names(newly)}"
        return _ask(told, frozenset(newly), again=True, reason=why)
    told = replace(told, to_publish=told.to_publish | newly, again=told.again or bool(newly))
    return consider(told, now) if told.phase == "open" else Step(told)


def on_looked(round: Round, event: Looked, now: float) -> Step:
    """The look is done: obey the control, then publish what is due, then close if that is due."""
    stop = obey(round, event.control)
    if stop is not None:
        return stop
    due = tuple(sorted(round.to_publish & round.unanswered))
    opened = replace(round, phase="open", to_publish=frozenset())
    if cause_to_act(opened, now) in ("complete", "all answered"):
        return close(opened, now)
    effects: list[Effect] = [Publish(due, again=round.again)] if due else []
    if opened.deadline_name != opened.wanted_deadline_name:
        opened = replace(opened, deadline=None)
        effects.append(StartDeadline(opened.wanted_deadline_name, opened.rules.deadline_seconds))
    if effects:
        return Step(opened, tuple(effects), f"asked {len(due)} clients" if due else "")
    return close(opened, now)


def on_deadline_started(round: Round, event: DeadlineStarted, now: float) -> Step:
    if event.name != round.wanted_deadline_name:
        return Step(round)
    return consider(replace(round, deadline=event.at, deadline_name=event.name), now)


def consider(round: Round, now: float) -> Step:
    """An open round: is there cause to close it, or to act on too few? Then look first."""
    cause = cause_to_act(round, now)
    if cause is None:
        return Step(round)
    needs_store = cause in ("deadline", "hopeless")
    return Step(replace(round, phase="looking", looked_at_store=needs_store), (Look(store=needs_store),), cause)


def cause_to_act(round: Round, now: float) -> str | None:
    """Why the round should be acted on now; None: wait."""
    valid = len(round.valid)
    if valid >= round.rules.wanted:
        return "complete"
    if valid + round.lost >= len(round.asked) and valid >= round.rules.quorum:
        return "all answered"
    if len(round.asked) - round.lost < round.rules.quorum:
        return "hopeless"
    if round.deadline is not None and now >= round.deadline:
        return "deadline"
    return None


def close(round: Round, now: float) -> Step:
    """After a look: freeze, or let the job's policy speak, or go on waiting."""
    cause = cause_to_act(round, now)
    if cause is None:
        return Step(replace(round, looked_at_store=False))
    if cause in ("deadline", "hopeless") and not round.looked_at_store:
        return consider(round, now)
    round = replace(round, looked_at_store=False)
    if len(round.valid) >= round.rules.quorum:
        return freeze(round, cause)
    return BELOW_QUORUM[round.rules.below_quorum](round, f"{cause}: {round.tally}{round.trouble}")


def freeze(round: Round, cause: str) -> Step:
    reason = f"{cause}: {round.tally}"
    first = list(round.valid)[: round.rules.wanted]  # in order of arrival: with over-selection the n first count
    return Step(replace(round, phase="looking"), (Freeze(tuple(sorted(first)), reason),), reason)


def on_frozen(round: Round, event: Frozen, now: float) -> Step:
    """Whoever made the manifest: it is the round's, and a frozen round is always finished."""
    return Step(replace(round, phase="frozen"), (Write(),), f"frozen with {len(event.clients)} updates")


def on_written(round: Round, event: Written, now: float) -> Step:
    return Step(replace(round, phase="committed"), (), "committed")


# What to do with too few


def extend(round: Round, why: str) -> Step:
    """Ask all who gave nothing valid once more, under a new deadline."""
    if round.extensions >= round.rules.max_extensions:
        return pause(round, f"{why}; extended {round.extensions} times, the most allowed (max_extensions)")
    extended = _forgive(replace(round, extensions=round.extensions + 1))
    effects = (
        Publish(tuple(sorted(extended.unanswered)), again=True),
        StartDeadline(extended.wanted_deadline_name, extended.rules.deadline_seconds),
    )
    return Step(replace(extended, phase="open", deadline=None), effects, f"extended: {why}")


def resample(round: Round, why: str) -> Step:
    return Step(replace(round, phase="looking"), (Resample(why),), f"resampling: {why}")


def on_resampled(round: Round, event: Resampled, now: float) -> Step:
    """More clients are asked; what arrived is kept."""
    if not event.more:
        return pause(round, f"{round.tally}; nobody is left to ask instead")
    grown = replace(round, asked=round.asked | frozenset(event.more), plan=event.plan)
    return _ask(grown, frozenset(event.more), again=True, reason=f"resampled: {_names(frozenset(event.more))}")


def pause(round: Round, why: str) -> Step:
    return Step(replace(round, phase="paused", deadline=None), (WriteControl("pause", why),), f"paused: {why}")


def fail(round: Round, why: str) -> Step:
    return Step(replace(round, phase="ended", deadline=None), (WriteControl("fail", why),), f"failed: {why}")


BELOW_QUORUM: dict[str, Callable[[Round, str], Step]] = {
    "extend": extend,
    "resample": resample,
    "pause": pause,
    "fail": fail,
}


# Control and disturbances


def obey(round: Round, control: ControlState) -> Step | None:
    """What the control documents demand of a round that is not frozen; None: go on."""
    if control.command == "pause":
        why = f"paused: {control.reason}" if control.reason else "paused"
        why = "" if round.phase == "paused" else why  # looked at every few seconds: said once
        return Step(replace(round, phase="paused", deadline=None, deadline_name=""), (), why)
    if control.command != "run":
        return Step(replace(round, phase="ended", deadline=None), (), f"{control.command}: {control.reason}")
    return None


def on_controlled(round: Round, event: Controlled, now: float) -> Step:
    """A running round hears of a pause or an end; a paused one of a resume: it asks again, with a new deadline."""
    stop = obey(round, event.control)
    if stop is not None:
        return stop
    if round.phase != "paused":
        return Step(round)
    resumed = _forgive(replace(round, generation=event.control.number, extensions=0))
    return _ask(resumed, resumed.unanswered, again=True, reason="resumed")


def on_wiped(round: Round, event: Wiped, now: float) -> Step:
    return _ask(replace(round, deadline_name=""), round.asked, again=True, reason="Redis was wiped: asking again")


def on_reconnected(round: Round, event: Reconnected, now: float) -> Step:
    return _ask(round, frozenset(), again=True, reason="Redis answers again: looking for missed updates")


def on_ticked(round: Round, event: Ticked, now: float) -> Step:
    return consider(round, now)


# Parts


def _ask(round: Round, clients: frozenset[str], *, again: bool, reason: str) -> Step:
    looking = replace(round, phase="looking", to_publish=round.to_publish | clients, again=again, looked_at_store=again)
    return Step(looking, (Look(store=again),), reason)


def _count(round: Round, answers: tuple[Answer, ...]) -> Round:
    """The first valid attempt of a client counts; a success replaces a failure or a rejection."""
    valid, rejected = dict(round.valid), dict(round.rejected)
    failed, buried = dict(round.failed), dict(round.buried)
    for answer in answers:
        client = answer.client
        if client not in round.asked or client in valid:
            continue
        if answer.outcome == "valid":
            valid[client] = answer.attempt
            rejected.pop(client, None)
            failed.pop(client, None)
        elif answer.outcome == "rejected":
            rejected[client] = answer.reason
            failed.pop(client, None)
        elif client not in rejected and client not in failed:
            _fail_or_bury(answer, failed, buried)
    return replace(round, valid=valid, rejected=rejected, failed=failed, buried=buried)


def _fail_or_bury(answer: Answer, failed: dict[str, str], buried: dict[str, str]) -> None:
    """A dead letter is published once more; the next one of its client is a failure."""
    if answer.outcome == "dead" and answer.client not in buried:
        buried[answer.client] = answer.attempt
    elif answer.outcome == "failed" or buried[answer.client] != answer.attempt:
        failed[answer.client] = answer.reason


def _forgive(round: Round) -> Round:
    return replace(round, failed={}, rejected={}, buried={})


def _names(clients: Collection[str]) -> str:
    names = sorted(clients)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


RULES: dict[tuple[str, type], Callable[[Round, Any, float], Step]] = {
    ("new", Opened): on_opened,
    ("looking", Answers): on_answers,
    ("looking", Looked): on_looked,
    ("looking", Resampled): on_resampled,
    ("looking", Controlled): on_controlled,
    ("looking", Frozen): on_frozen,
    ("open", Answers): on_answers,
    ("open", DeadlineStarted): on_deadline_started,
    ("open", Ticked): on_ticked,
    ("open", Wiped): on_wiped,
    ("open", Reconnected): on_reconnected,
    ("open", Controlled): on_controlled,
    ("paused", Answers): on_answers,
    ("paused", Controlled): on_controlled,
    ("paused", Frozen): on_frozen,
    ("ended", Frozen): on_frozen,
    ("frozen", Written): on_written,
}
