"""What a flow lets others see: a round's fields of progress, and from which round on a client's work is wanted."""

from __future__ import annotations

import json

from ..telling import CLIENTS_SHOWN_MAX, STATES
from .events import Flow


def progress_of(flow: Flow) -> dict[str, str]:
    """The version's state, as the machine has it; see `trainer/standing.py` for the floors."""
    told = {
        "state": STATES.get(flow.phase, "running"),
        "phase": flow.phase,
        "asked": str(len(flow.out) + len(flow.ready)),
        "wanted": str(max(1, flow.rules.takes)),
        "quorum": str(max(1, flow.rules.takes)),
        "valid": str(len(flow.ready)),
        "rejected": str(sum(one.how == "rejected" for one in flow.lost.values())),
        "failed": str(sum(one.how != "rejected" for one in flow.lost.values())),
        "extension": str(flow.extensions),
        "deadline": "" if flow.deadline is None else f"{flow.deadline:.3f}",
    }
    if flow.plan < 0:
        return told  # who is out is not settled yet: another leader's plan may stand
    told |= {"round": str(flow.version), "clients": "", "floors": ""}
    if len(flow.rules.clients) > CLIENTS_SHOWN_MAX:
        return told
    states = dict.fromkeys(flow.out, "asked") | dict.fromkeys(flow.ready, "valid")
    states |= {client: "rejected" if one.how == "rejected" else "failed" for client, one in flow.lost.items()}
    floors = {"*": flow.version} | {client: one.base + 1 for client, one in flow.lost.items()}
    floors |= {client: ask.round for client, ask in flow.out.items()}
    floors |= {client: one.base + 2 for client, one in flow.ready.items()}
    return told | {"clients": _compact(states), "floors": _compact(floors)}


def _compact(states: dict[str, str] | dict[str, int]) -> str:
    return json.dumps(dict(sorted(states.items())), separators=(",", ":"))
