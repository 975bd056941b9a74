"""The rules of an asynchronous job, each as a few events and what comes of them."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from made.flow_desk import Ask, FlowDesk, flow_spec

from warren.aggregator.events import Answer, Answers, Freeze, Look, Opened, Publish, Reconnected, Wiped, WriteControl
from warren.aggregator.flow.events import AskAnew, Counted, Planned
from warren.aggregator.flow.telling import progress_of
from warren.broker.messages import RoundJob
from warren.trainer.standing import outdated

ALL = ("c000", "c001", "c002", "c003")


def desk(kind: str, **fields: Any) -> FlowDesk:
    return FlowDesk(flow_spec(kind, **fields))


def test_a_version_looks_at_control_then_writes_down_who_is_out_then_asks() -> None:
    job = desk("fedasync")
    assert [type(effect) for effect in job.effects] == [Look, AskAnew, Publish]
    assert job.plans[0].bases == dict.fromkeys(ALL, 0)
    assert job.published == [(tuple((client, 0) for client in ALL), False)]


def test_fedasync_makes_a_version_of_each_update_and_asks_its_client_again_from_there() -> None:
    job = desk("fedasync")
    job.answer("c002")
    assert job.versions == [{"c002": 0}]
    assert job.out == {"c000": 0, "c001": 0, "c003": 0, "c002": 1}
    job.answer("c000", "c003")  # at once: one version each, in the order they came
    assert job.versions[1:] == [{"c000": 0}, {"c003": 0}]


def test_fedbuff_makes_a_version_when_its_buffer_is_full_and_leaves_the_others_out() -> None:
    job = desk("fedbuff", buffer=2)
    assert job.answer("c003") == []
    job.answer("c001")
    assert job.versions == [{"c001": 0, "c003": 0}]
    assert job.out == {"c000": 0, "c002": 0, "c001": 1, "c003": 1}


def test_as_many_are_out_as_the_fraction_says_and_a_place_that_falls_free_goes_to_another() -> None:
    job = desk("fedbuff", clients=6, fraction=0.5, buffer=3)
    first = set(job.out)
    assert len(first) == 3
    job.answer(*sorted(first)[:1])
    assert len(job.out) == 3
    assert len(job.plans) == 2
    assert set(job.out).isdisjoint(sorted(first)[:1])  # who has an update waiting is not asked again before it counts
    assert job.plans[1].bases.keys() == {*first, *job.out}


def test_ssp_with_a_bound_of_0_makes_a_version_of_all() -> None:
    job = desk("ssp")
    job.answer("c000", "c001")
    job.answer("c003")
    assert (job.versions, job.out) == ([], {"c002": 0})
    job.answer("c002")
    assert job.versions == [dict.fromkeys(ALL, 0)]
    assert job.out == dict.fromkeys(ALL, 1)


def test_ssp_lets_a_client_run_ahead_by_its_bound_and_no_further() -> None:
    job = desk("ssp", staleness=1)
    job.answer("c000")
    assert (job.versions, job.out["c000"]) == ([{"c000": 0}], 1)
    job.answer("c000")
    assert len(job.versions) == 1  # two ahead of the slowest: nobody may read it yet
    job.answer("c001")
    assert job.versions[1:] == [{"c000": 1, "c001": 0}]
    assert "c000" not in job.out
    job.answer("c002", "c003")
    assert job.out["c000"] == len(job.versions)  # the slowest caught up


def test_ssp_without_a_bound_never_waits() -> None:
    job = desk("ssp", staleness="inf")
    for _ in range(7):
        job.answer("c000")
    assert job.versions == [{"c000": base} for base in range(7)]


def test_a_client_that_gives_no_answer_is_given_up_after_a_look_at_the_store_and_holds_nobody_up() -> None:
    job = desk("ssp")
    job.now += 10
    job.answer("c000", "c001", "c003")
    assert job.wait(49) == []
    effects = job.wait(1)
    assert effects[0] == Look(store=True)
    assert job.versions == []
    assert job.control.command == "pause"  # quorum 80 %: 4 of 4
    job = desk("ssp", quorum=3)
    job.answer("c000", "c001", "c003")
    job.wait(60)
    assert job.versions == [dict.fromkeys(("c000", "c001", "c003"), 0)]
    assert job.out == dict.fromkeys(ALL, 1)  # and is asked again, beside the slowest of the others


def test_another_client_is_asked_where_one_fails() -> None:
    job = desk("fedasync", clients=6, fraction=0.5)
    one = min(job.out)
    job.answer(one, outcome="failed")
    assert len(job.out) == 3
    assert one not in job.out
    assert job.published[-1][1]  # somebody may have been asked before
    assert job.versions == []


def test_a_success_replaces_a_failure_as_long_as_the_plan_names_its_client() -> None:
    job = desk("fedbuff", buffer=2)
    job.answer("c000", outcome="failed")
    job.answer("c000", "c001")
    assert job.versions == [{"c000": 0, "c001": 0}]
    job = desk("fedbuff", clients=6, fraction=0.5, buffer=2)
    one = min(job.out)
    job.answer(one, outcome="failed")  # a new plan asks another instead
    job.answer(one)
    assert one not in job.flow.ready


def test_news_of_an_ask_that_is_over_is_passed_over() -> None:
    job = desk("fedasync")
    job.answer("c000")
    assert job.out["c000"] == 1
    job.feed(Answers((Answer("c000", "valid", "late", round=1),)))
    assert len(job.versions) == 1


def test_a_dead_letter_is_published_once_more_and_the_next_one_is_a_failure() -> None:
    job = desk("fedbuff", buffer=4)
    job.answer("c001", outcome="dead", attempt="first")
    assert job.published[-1] == ((("c001", 0),), True)
    count = len(job.published)
    job.answer("c001", outcome="dead", attempt="first")  # the same letter, told twice
    assert (len(job.published), job.flow.lost) == (count, {})
    job.answer("c001", outcome="dead", attempt="second")
    assert job.flow.lost["c001"].how == "failed"


def test_when_too_few_are_left_the_policy_speaks() -> None:
    for policy, end in (("pause", "pause"), ("fail", "fail")):
        job = desk("fedbuff", buffer=3, below_quorum=policy)
        job.answer("c000", outcome="rejected")
        assert job.control.command == "run"
        job.answer("c001", outcome="failed")
        assert job.control.command == end
        assert job.control.reason == "hopeless: 0 ready, 2 out, 2 lost; c000 rejected: why; c001 failed: why"
    job = desk("fedbuff", buffer=3, below_quorum="extend", max_extensions=1)
    job.answer("c000", "c001", outcome="failed")
    assert job.published[-1] == ((("c000", 0), ("c001", 0)), True)
    job.answer("c000", "c001", outcome="failed")
    assert job.control.command == "pause"


def test_a_paused_job_asks_nobody_and_freezes_nothing_until_it_is_resumed() -> None:
    job = desk("fedbuff", buffer=2)
    job.command("pause")
    before = len(job.published)
    job.answer("c000", "c001")
    job.wait(1000)
    assert (job.versions, len(job.published)) == ([], before)
    job.command("run")
    assert job.versions == [{"c000": 0, "c001": 0}]
    assert job.published[before] == ((("c002", 0), ("c003", 0)), True)


def test_an_ended_job_freezes_nothing() -> None:
    job = desk("fedasync")
    job.command("cancel")
    job.answer("c000")
    assert (job.flow.phase, job.versions) == ("ended", [])


def test_after_a_wipe_all_who_are_out_are_asked_again_with_new_deadlines() -> None:
    job = desk("fedbuff", buffer=4)
    job.answer("c002")
    job.now = 30.0
    assert job.feed(Wiped())[0] == Look(store=True)
    assert job.published[-1] == ((("c000", 0), ("c001", 0), ("c003", 0)), True)
    assert job.flow.deadline == 90.0
    assert job.feed(Reconnected())[0] == Look(store=True)


def test_a_taken_over_version_looks_at_the_store_and_asks_who_is_out_again() -> None:
    from warren.aggregator.flow.events import Ask as Out

    job = desk("fedasync")
    job.flow = type(job.flow)(
        5, job.flow.rules, plan=0, listed={"c000": 4, "c001": 2}, out={"c000": Out(4), "c001": Out(2)}
    )
    before = len(job.published)
    effects = job.feed(Opened(False, job.control))
    assert effects[0] == Look(store=True)
    assert job.plans[-1].bases == {"c000": 4, "c001": 2, "c002": 4, "c003": 4}
    assert job.published[before:] == [((("c000", 4), ("c001", 2), ("c002", 4), ("c003", 4)), True)]


def test_what_another_leader_planned_or_froze_stands() -> None:
    job = desk("fedbuff", buffer=2)
    job.answer("c000")
    job.feed(Answers(()))
    job.flow = type(job.flow)(2, job.flow.rules, phase="looking", out=job.flow.out, ready=job.flow.ready)
    job.feed(Planned(0, {"c000": 1, "c001": 0}, {}, ours=False))
    assert job.out == {"c001": 0, "c000": 1, "c002": 1, "c003": 1}
    assert job.flow.ready == {}  # the update that was ready counts no more: it is asked anew
    job.flow = type(job.flow)(2, job.flow.rules, phase="looking", out=job.flow.out)
    job.feed(Counted({"c002": 1, "c003": 1}, frozenset({"c001"})))
    assert job.flow.version == 3
    assert job.out == {"c000": 1, "c001": 2, "c002": 2, "c003": 2}


MOVES = st.lists(
    st.tuples(
        st.sampled_from(("valid", "valid", "valid", "failed", "rejected", "dead", "wait", "wipe", "pause", "resume")),
        st.integers(0, 99),
    ),
    max_size=60,
)
SCHEDULES = st.sampled_from(
    (
        ("ssp", {"staleness": 0, "quorum": 1}),
        ("ssp", {"staleness": 2, "quorum": 1}),
        ("ssp", {"staleness": "inf", "quorum": 1}),
        ("fedasync", {"fraction": 0.5}),
        ("fedasync", {}),
        ("fedbuff", {"buffer": 3}),
        ("fedbuff", {"buffer": 5, "fraction": 0.5}),
        ("fedbuff", {"buffer": 2, "below_quorum": "extend"}),
    )
)


@settings(max_examples=150, deadline=None)
@given(SCHEDULES, MOVES)
def test_whatever_comes_no_ask_counts_twice_and_nobody_runs_ahead(schedule: Any, moves: list[tuple[str, int]]) -> None:
    kind, fields = schedule
    job = desk(kind, clients=5, **fields)
    rules, counted, clocks = job.flow.rules, set[Ask](), dict.fromkeys(job.flow.rules.clients, 0)
    seen = 0
    for number, (move, choice) in enumerate(moves):
        if move in ("pause", "resume"):
            job.command("pause" if move == "pause" else "run")
        elif move == "wipe":
            job.feed(Wiped())
        elif move == "wait":
            job.wait(25.0 * (1 + choice % 3))
        elif job.flow.out:
            job.answer(sorted(job.flow.out)[choice % len(job.flow.out)], outcome=move, attempt=f"x{number}")
        flow = job.flow
        assert not set(flow.out) & set(flow.ready)
        assert not set(flow.out) & set(flow.lost)
        open_asks = {(c, ask.base) for c, ask in flow.out.items()} | {(c, one.base) for c, one in flow.ready.items()}
        assert open_asks <= set(flow.listed.items())
        assert all(ask.base < flow.version for ask in flow.out.values())
        for version in job.versions[seen:]:
            assert not counted & version.items(), "an ask counted twice"
            counted |= version.items()
            assert len(version) == rules.takes or not rules.takes
        seen = len(job.versions)
        if kind == "ssp":
            clocks = {client: sum(c == client for c, _ in counted) for client in clocks}
            told = [flow.clocks.get(client, 0) for client in flow.out]
            assert max(told, default=0) - min(told, default=0) <= rules.staleness
            assert all(flow.clocks.get(client, 0) >= clock for client, clock in clocks.items())
    if job.control.command == "pause":
        job.command("run")
    while job.flow.out and seen == len(job.versions) and job.control.command == "run":
        job.answer(min(job.flow.out))  # whatever happened, it goes on
    assert len(job.versions) > seen or job.control.command != "run" or not job.flow.out
    assert not any(isinstance(effect, Freeze | WriteControl) for effect in job.feed(Reconnected()))


def test_trainers_are_told_whose_work_is_wanted_and_drop_no_other() -> None:
    job = desk("fedbuff", buffer=2)
    job.answer("c000", "c001")
    job.answer("c002")
    job.answer("c003", outcome="failed")
    progress = progress_of(job.flow)
    asked = {"c000": 2, "c001": 2, "c002": 1, "c003": 1}
    wanted = {
        client: outdated(_round_job(client, r), progress, asynchronous=True) is None for client, r in asked.items()
    }
    assert wanted == {"c000": True, "c001": True, "c002": False, "c003": True}  # a success may replace the failure
    assert outdated(_round_job("c000", 1), progress, asynchronous=True) is not None
    assert outdated(_round_job("c000", 1), {"round": "9"}, asynchronous=True) is None  # told in part, after a wipe


def _round_job(client: str, number: int) -> RoundJob:
    return RoundJob(job="j", round=number, kind="train", client=client, source="pool.default")
