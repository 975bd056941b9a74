"""Who is asked next, and when a version is full: the part of a flow's rules that differs between schedules. No I/O.

ssp (Ho et al. 2013, section 3): a client's clock counts its updates that are in the model. It may go on while its
clock is at most S ahead of the slowest client's. A version is made as soon as that lets a client go on; what nobody
may read yet waits. So S = 0 makes a version of all clients, and S = inf one of each update that comes.

fedasync, fedbuff: so many clients are out at a time, drawn from those that are idle.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping

from .events import Flow

PLANS_MAX = 99  # the highest number of a version's plan


def next_clients(flow: Flow) -> tuple[str, ...]:
    """Who may be asked now, in client order: nobody twice between two versions."""
    idle = [c for c in flow.rules.clients if c not in flow.out and c not in flow.ready and c not in flow.lost]
    if flow.rules.kind == "ssp":
        return _within_bound(flow, flow.clocks, idle)
    waiting = max(0, len(flow.ready) - flow.rules.takes)  # beyond the next version: they keep their places
    free = min(flow.rules.out_max - len(flow.out) - waiting, len(idle))
    if free <= 0:
        return ()
    # A str seed goes through sha512: the same draw in every process.
    chance = random.Random(f"{flow.rules.seed}/selection/{flow.version}/{flow.plan + 1}")
    return tuple(sorted(chance.sample(sorted(idle), free)))


def full(flow: Flow) -> bool:
    """Whether the updates that are in make a version."""
    if flow.rules.takes:
        return len(flow.ready) >= flow.rules.takes
    if not flow.ready:
        return False
    clocks = {**flow.clocks, **{client: flow.clocks.get(client, 0) + 1 for client in flow.ready}}
    at_rest = [c for c in flow.rules.clients if c not in flow.out and c not in flow.lost]
    return bool(_within_bound(flow, clocks, at_rest))


def chosen(flow: Flow) -> tuple[str, ...]:
    """Whose updates make the version, in client order: the first that came, or all that are in."""
    first = list(flow.ready)[: flow.rules.takes or None]
    return tuple(sorted(first))


def left(flow: Flow) -> int:
    """How many clients may still give an update before the next version."""
    if flow.plan >= PLANS_MAX:
        return len(flow.out) + len(flow.ready)
    return len(flow.rules.clients) - len(flow.lost)


def clocks_after(flow: Flow, counted: Collection[str], lost: Collection[str]) -> dict[str, int]:
    """The clocks once these updates count. Who was lost goes on beside the slowest of the others."""
    if flow.rules.kind != "ssp":
        return {}
    clocks = {client: flow.clocks.get(client, 0) + (client in counted) for client in flow.rules.clients}
    slowest = min((clocks[c] for c in flow.rules.clients if c not in lost), default=0)
    return {client: max(clock, slowest) if client in lost else clock for client, clock in clocks.items()}


def _within_bound(flow: Flow, clocks: Mapping[str, int], clients: list[str]) -> tuple[str, ...]:
    slowest = min((clocks.get(c, 0) for c in flow.rules.clients if c not in flow.lost), default=0)
    return tuple(c for c in clients if clocks.get(c, 0) - slowest <= flow.rules.staleness)
