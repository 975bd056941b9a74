"""The rules of a round, each as one state, one event, one expected step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from warren.aggregator.events import (
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
    Rules,
    StartDeadline,
    Step,
    Ticked,
    Wiped,
    Write,
    WriteControl,
    Written,
)
from warren.aggregator.round import advance

RUN = ControlState()
CLIENTS = ("a", "b", "c", "d")


def a_round(quorum: int = 3, wanted: int = 4, policy: str = "pause", extensions: int = 2) -> Round:
    return Round(5, frozenset(CLIENTS), Rules(quorum, wanted, 60.0, policy, extensions))  # type: ignore[arg-type]


def feed(round: Round, events: Iterable[Event], now: float = 0.0) -> tuple[Round, list[Effect]]:
    effects: list[Effect] = []
    for event in events:
        step = advance(round, event, now)
        round = step.round
        effects = list(step.effects)
    return round, effects


def open_round(**options: object) -> Round:
    round, _ = feed(a_round(**options), [Opened(True), Looked(RUN), DeadlineStarted("0.0.0", 60.0)])  # type: ignore[arg-type]
    assert round.phase == "open"
    return round


def valid(*clients: str) -> Answers:
    return Answers(tuple(Answer(c, "valid", f"x{c}") for c in clients))


def failed(*clients: str) -> Answers:
    return Answers(tuple(Answer(c, "failed", f"x{c}", "broke") for c in clients))


def test_a_fresh_round_asks_all_in_client_order_after_a_look_at_control() -> None:
    round, effects = feed(a_round(), [Opened(True)])
    assert effects == [Look(store=False)]
    round, effects = feed(round, [Looked(RUN)])
    assert effects == [Publish(CLIENTS, again=False), StartDeadline("0.0.0", 60.0)]


def test_a_round_taken_over_looks_at_the_store_and_asks_only_who_has_not_answered() -> None:
    round, effects = feed(a_round(), [Opened(False)])
    assert effects == [Look(store=True)]
    _, effects = feed(round, [valid("a", "c"), Looked(RUN)])
    assert effects == [Publish(("b", "d"), again=True), StartDeadline("0.0.0", 60.0)]


def test_a_paused_job_is_not_published() -> None:
    round, effects = feed(a_round(), [Opened(True), Looked(ControlState("pause", 1, "by hand"))])
    assert (round.phase, effects) == ("paused", [])


def test_it_closes_when_all_wanted_are_valid_with_control_read_before_the_freeze() -> None:
    round, effects = feed(open_round(), [valid("d", "b"), valid("a", "c")])
    assert effects == [Look(store=False)]
    round, effects = feed(round, [Looked(RUN)])
    assert effects == [Freeze(CLIENTS, "complete: 4 of 4 valid, quorum 3")]


def test_with_over_selection_it_closes_at_the_nth_valid_update_and_freezes_the_first_n() -> None:
    _, effects = feed(open_round(quorum=2, wanted=2), [valid("d", "b", "a"), Looked(RUN)])
    assert isinstance(effects[0], Freeze)
    assert effects[0].clients == ("b", "d")


def test_it_closes_when_all_have_answered_and_the_valid_reach_the_quorum() -> None:
    _, effects = feed(open_round(), [failed("a"), valid("b", "c", "d"), Looked(RUN)])
    assert isinstance(effects[0], Freeze)
    assert effects[0].clients == ("b", "c", "d")


def test_it_waits_for_the_silent_while_there_is_time() -> None:
    round, effects = feed(open_round(), [valid("a", "b", "c"), Ticked()], now=59.0)
    assert (round.phase, effects) == ("open", [])


def test_at_the_deadline_it_looks_at_the_store_before_it_closes_on_the_quorum() -> None:
    round, _ = feed(open_round(), [valid("a", "b", "c")])
    round, effects = feed(round, [Ticked()], now=60.0)
    assert effects == [Look(store=True)]
    _, effects = feed(round, [Looked(RUN)], now=60.0)
    assert effects == [Freeze(("a", "b", "c"), "deadline: 3 of 4 valid, quorum 3, 1 silent")]


def test_news_lost_before_the_deadline_counts_because_the_store_is_asked() -> None:
    round, _ = feed(open_round(), [valid("a", "b")])
    round, _ = feed(round, [Ticked()], now=61.0)
    _, effects = feed(round, [valid("c", "d"), Looked(RUN)], now=61.0)
    assert isinstance(effects[0], Freeze)
    assert effects[0].clients == CLIENTS


def test_a_client_counts_once_with_its_first_valid_attempt() -> None:
    round, _ = feed(open_round(), [Answers((Answer("a", "valid", "one"), Answer("a", "valid", "two")))])
    round, _ = feed(round, [failed("a"), Answers((Answer("a", "rejected", "three", "NaN"),))])
    assert round.valid == {"a": "one"}
    assert not round.failed
    assert not round.rejected


def test_a_success_replaces_a_failure_and_a_rejection() -> None:
    round, _ = feed(open_round(), [failed("a"), Answers((Answer("b", "rejected", "1", "NaN"),)), valid("a", "b")])
    assert (dict(round.valid), dict(round.failed), dict(round.rejected)) == ({"a": "xa", "b": "xb"}, {}, {})


def test_who_was_not_asked_does_not_count() -> None:
    round, _ = feed(open_round(), [valid("z"), failed("y")])
    assert (dict(round.valid), dict(round.failed)) == ({}, {})


def test_as_soon_as_the_quorum_cant_be_reached_the_policy_acts() -> None:
    round, effects = feed(open_round(), [failed("a", "b")])
    assert effects == [Look(store=True)]
    round, effects = feed(round, [Looked(RUN)])
    assert round.phase == "paused"
    why = "hopeless: 0 of 4 valid, quorum 3, 2 failed, 2 silent; a failed: broke; b failed: broke"
    assert effects == [WriteControl("pause", why)]


@pytest.mark.parametrize(
    ("policy", "phase", "kind"),
    [
        ("pause", "paused", WriteControl),
        ("fail", "ended", WriteControl),
        ("resample", "looking", Resample),
        ("extend", "open", Publish),
    ],
)
def test_each_policy_below_quorum_at_the_deadline(policy: str, phase: str, kind: type) -> None:
    round, _ = feed(open_round(policy=policy), [valid("a"), Ticked()], now=61.0)
    round, effects = feed(round, [Looked(RUN)], now=61.0)
    assert round.phase == phase
    assert isinstance(effects[0], kind)


def test_an_extension_asks_all_without_a_valid_update_again_under_a_new_deadline() -> None:
    round, _ = feed(open_round(policy="extend"), [valid("a"), failed("b"), Ticked()], now=61.0)
    _, effects = feed(round, [Looked(RUN)], now=61.0)
    assert effects == [Publish(("b", "c", "d"), again=True), StartDeadline("0.1.0", 60.0)]


def test_extensions_are_bounded_and_then_the_job_pauses() -> None:
    round = open_round(policy="extend", extensions=1)
    round, _ = feed(round, [Ticked(), Looked(RUN), DeadlineStarted("0.1.0", 120.0)], now=61.0)
    assert (round.phase, round.extensions) == ("open", 1)
    round, effects = feed(round, [Ticked(), Looked(RUN)], now=121.0)
    assert round.phase == "paused"
    assert "extended 1 times" in effects[0].reason  # type: ignore[union-attr]


def test_a_pause_for_want_of_clients_names_why_they_failed() -> None:
    lost = Answers(tuple(Answer(client, "failed", "x", f"NoSuchTask {client}") for client in "abcd"))
    _, effects = feed(open_round(policy="pause"), [lost, Looked(RUN)])
    reason = effects[-1].reason  # type: ignore[union-attr]
    assert reason.endswith("; a failed: NoSuchTask a; b failed: NoSuchTask b; c failed: NoSuchTask c; and 1 more")


def test_a_paused_round_says_so_once_however_often_it_is_looked_at() -> None:
    pause = Controlled(ControlState("pause", 1, "lunch"))
    first = advance(open_round(), pause, 1.0)
    assert first.reason == "paused: lunch"
    assert advance(first.round, pause, 11.0) == Step(first.round)


def test_a_resample_asks_the_new_clients_and_keeps_what_arrived() -> None:
    round, _ = feed(open_round(policy="resample"), [valid("a"), Ticked(), Looked(RUN)], now=61.0)
    round, effects = feed(round, [Resampled(1, ("e", "f")), Looked(RUN)], now=61.0)
    assert effects == [Publish(("e", "f"), again=True), StartDeadline("1.0.0", 60.0)]
    assert round.valid == {"a": "xa"}


def test_a_resample_with_nobody_left_pauses_and_says_so() -> None:
    round, _ = feed(open_round(policy="resample"), [Ticked(), Looked(RUN)], now=61.0)
    round, effects = feed(round, [Resampled(0, ())])
    assert round.phase == "paused"
    assert "nobody is left" in effects[0].reason  # type: ignore[union-attr]


def test_a_dead_letter_is_published_once_more_before_its_client_counts_as_failed() -> None:
    round, effects = feed(open_round(), [Answers((Answer("a", "dead", "p1", "died"),))])
    assert effects == [Look(store=True)]
    round, effects = feed(round, [Looked(RUN)])
    assert effects == [Publish(("a",), again=True)]
    round, _ = feed(round, [Answers((Answer("a", "dead", "p1", "died"),))])
    assert not round.failed, "the same letter told twice is one"
    round, _ = feed(round, [Answers((Answer("a", "dead", "p2", "died again"),))])
    assert round.failed == {"a": "died again"}


def test_a_dead_letter_that_comes_during_a_look_is_published_after_it() -> None:
    round, _ = feed(open_round(), [Ticked()], now=61.0)
    _, effects = feed(round, [Answers((Answer("a", "dead", "p1", "died"),)), Looked(RUN)], now=61.0)
    assert effects == [Publish(("a",), again=True)]


def test_a_wiped_redis_means_asking_again_and_the_deadline_in_full() -> None:
    round, effects = feed(open_round(), [valid("a"), Wiped()])
    assert effects == [Look(store=True)]
    _, effects = feed(round, [Looked(RUN)])
    assert effects == [Publish(("b", "c", "d"), again=True), StartDeadline("0.0.0", 60.0)]


def test_after_redis_returns_the_store_is_asked_for_what_was_missed() -> None:
    round, effects = feed(open_round(), [Reconnected()])
    assert effects == [Look(store=True)]
    round, effects = feed(round, [valid("a"), Looked(RUN)])
    assert (round.phase, effects) == ("open", [])


def test_a_pause_reaches_an_open_round_and_a_resume_asks_again_under_a_new_deadline() -> None:
    round, _ = feed(open_round(), [valid("a"), failed("b"), Controlled(ControlState("pause", 1, "by hand"))])
    assert (round.phase, round.deadline) == ("paused", None)
    round, effects = feed(round, [valid("c"), Ticked()], now=999.0)
    assert effects == []
    round, effects = feed(round, [Controlled(ControlState("run", 2)), Looked(ControlState("run", 2))], now=1000.0)
    assert effects == [Publish(("b", "d"), again=True), StartDeadline("0.0.2", 60.0)]


def test_a_cancel_between_the_look_and_the_freeze_is_obeyed() -> None:
    round, effects = feed(open_round(), [valid(*CLIENTS), Looked(ControlState("cancel", 1, "by hand"))])
    assert (round.phase, effects) == ("ended", [])


def test_a_frozen_round_is_always_finished() -> None:
    round, _ = feed(open_round(), [valid(*CLIENTS), Looked(RUN)])
    round, effects = feed(round, [Frozen(("a", "b"))])
    assert effects == [Write()]
    stopped, effects = feed(round, [Controlled(ControlState("cancel", 1)), Ticked(), Wiped()], now=999.0)
    assert (stopped, effects) == (round, [])
    round, _ = feed(round, [Written()])
    assert round.phase == "committed"


def test_a_deadline_of_another_name_is_not_this_rounds() -> None:
    round = replace(open_round(), deadline=None)
    round, _ = feed(round, [DeadlineStarted("0.7.0", 1.0)])
    assert round.deadline is None


@pytest.mark.parametrize("policy", ["pause", "fail"])
def test_a_round_that_another_leader_froze_is_finished_not_paused_or_failed(policy: str) -> None:
    round, effects = feed(open_round(policy=policy), [failed("a", "b"), Looked(RUN)])
    assert isinstance(effects[0], WriteControl)
    round, effects = feed(round, [Frozen(("c", "d"))])
    assert (round.phase, effects) == ("frozen", [Write()])
