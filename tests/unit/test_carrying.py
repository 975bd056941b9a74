"""Carrying out effects: round jobs are made and sent some at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from made.committed import spec_of

from warren.aggregator.carrying import PUBLISH_BATCH, Carrier
from warren.aggregator.client_states import ClientStates
from warren.aggregator.events import Publish, Round, Rules
from warren.broker.messages import RoundJob, decode
from warren.broker.ports import Outgoing
from warren.storage.documents import Plan

CLIENTS = 2 * PUBLISH_BATCH + 1


def at_once(call: Callable[..., Any], *given: Any) -> Any:
    return call(*given)


@pytest.mark.parametrize("balance", [{}, {"balance": {"kind": "deadline"}}])
def test_all_are_asked_in_order_and_few_messages_are_in_memory_at_a_time(balance: dict[str, Any]) -> None:
    spec = spec_of("j", 1, clients=CLIENTS, **balance)
    plan = Plan(round=1, clients=spec.client_names, wanted=1, quorum=1)
    sent: list[list[str]] = []

    def send(messages: Sequence[Outgoing]) -> None:
        sent.append([decode(message.body, RoundJob).client for message in messages])

    given: dict[str, Any] = {
        "house": SimpleNamespace(nonce="n", ledger=SimpleNamespace(now=lambda: 1.0)),
        "receipts": SimpleNamespace(set_aside=lambda client: ()),
        "patiently": at_once,
        "send": send,
    }
    carrier = Carrier(
        spec=spec,
        plan=plan,
        states=ClientStates(spec),
        record=None,
        halt=None,
        glance=None,
        plan_next=None,
        started=0.0,
        **given,
    )
    carrier.carry_out(
        Publish(plan.clients, again=False), Round(1, frozenset(plan.clients), Rules(1, 1, 60.0, "pause", 0))
    )
    assert [client for some in sent for client in some] == list(plan.clients)
    assert max(map(len, sent)) == PUBLISH_BATCH
