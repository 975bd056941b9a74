"""How much of a round's local work each client is given: from what the round before recorded, and nothing else.

w    a client's share of the job's local work, in steps; it starts at 1 and stays between `least` and `most`
T    the target, a share of the deadline
r    its round-trip in the round before, from asking to its update's arrival, by the ledger's clock
c    the part of r that training took, by the trainer's word; between 0 and r

aimd      w + increase where r <= T, else w decrease             (Chiu and Jain 1989; for rounds Racape et al.)
deadline  w (T - (r - c)) / c: the share with which the answer comes at T, if speed and the way stay as they were

Who gave no answer by the deadline was late: half of what it had in `deadline`. Who failed or was rejected keeps its
share: how long it takes is not known. So is who was not asked. The plan names the shares before anybody is asked, and
they follow from the last plan and manifest: a job that is taken over goes on with the same ones.
"""

from __future__ import annotations

from ..storage.balance import BalanceSpec
from ..storage.documents import Entry, Manifest, Plan
from ..storage.job import JobSpec

SILENT = 0.5  # what is left of the share of who gave no answer, where nothing was measured
DIGITS = 4


def next_shares(spec: JobSpec, plan: Plan, manifest: Manifest) -> dict[str, float]:
    """Each client's share of work in the next round; who is not named has all of it.

    Args:
        spec: the job.
        plan: of the round before, with the shares that were given in it.
        manifest: of the same round, with the round-trips.
    """
    balance, target = spec.balance, spec.balance.target * spec.deadline_seconds
    shares = dict(plan.shares)
    for client in manifest.silent:
        _give(shares, client, shares.get(client, 1.0) * _when_late(balance), balance)
    for entry in manifest.entries:
        if entry.took is not None:
            _give(shares, entry.client, _measured(balance, target, shares.get(entry.client, 1.0), entry), balance)
    return {client: share for client, share in sorted(shares.items()) if share != 1.0}


def _measured(balance: BalanceSpec, target: float, share: float, entry: Entry) -> float:
    assert entry.took is not None
    if balance.kind == "aimd":
        return share + balance.increase if entry.took <= target else share * balance.decrease
    training = min(_seconds(entry), entry.took)
    if training <= 0:
        return share
    return share * (target - (entry.took - training)) / training


def _when_late(balance: BalanceSpec) -> float:
    return balance.decrease if balance.kind == "aimd" else SILENT


def _give(shares: dict[str, float], client: str, share: float, balance: BalanceSpec) -> None:
    shares[client] = round(min(max(share, balance.least), balance.most), DIGITS)


def _seconds(entry: Entry) -> float:
    """What training took; all of the round-trip where the trainer said nothing that makes sense."""
    try:
        seconds = float(entry.facts.get("seconds", ""))
    except ValueError:
        return entry.took or 0.0
    return seconds if 0 < seconds < float("inf") else entry.took or 0.0
