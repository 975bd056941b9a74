"""What may go wrong, and how often: drawn from the seed, each kind on or off; it ceases when the storm does."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, field

# The least and most likely, each time that it could happen. Spans and wipes: how many, in all.
POINTS = {  # at any point between two effects; more often around those in kernel.HOT
    "crash": (5e-4, 8e-3),
    "freeze": (5e-4, 6e-3),
    "drain": (3e-4, 3e-3),
    "wipe-anywhere": (3e-4, 4e-3),
    "latency": (1e-3, 5e-2),
}
CALLS = {
    "store-flake": (0.002, 0.1),
    "store-lost-answer": (0.002, 0.1),
    "redis-flake": (0.002, 0.1),
    "redis-lost-answer": (0.002, 0.1),
    "news-lost": (0.01, 0.3),
    "news-doubled": (0.01, 0.3),
    "news-delayed": (0.01, 0.3),
    "news-forged": (0.01, 0.1),
    "nudge-lost": (0.1, 1.0),
    "publish-refused": (0.002, 0.1),
    "publish-unconfirmed": (0.01, 0.2),
    "message-doubled": (0.01, 0.3),
    "message-delayed": (0.01, 0.3),
    "message-reordered": (0.01, 0.3),
    "connection-lost": (0.002, 0.05),
    "submission-lost": (0.2, 1.0),
    "slow": (0.05, 0.4),
    "task-fails": (0.02, 0.4),
    "child-dies": (0.02, 0.3),
    "rubbish": (0.02, 0.4),
    "mislabelled": (0.02, 0.3),
    "wrong-digest": (0.02, 0.3),
    "different-bytes": (1.0, 1.0),
    "poison": (0.1, 0.5),
    "object-lost": (0.1, 0.5),
    "lease-shared": (0.8, 1.0),
    "freeze-when-frozen": (0.2, 0.9),
}
SPANS = {"store-down": 2, "redis-down": 2, "broker-down": 2, "wipe": 3, "commands": 4, "cancel": 1}
KINDS = (*POINTS, *CALLS, *SPANS)
RARE = {
    "object-lost": 0.05,
    "lease-shared": 0.25,
    "freeze-when-frozen": 0.5,
    "cancel": 0.1,
    "poison": 0.25,
    "different-bytes": 0.35,
}
# Two leaders at once are harmless where they see the same: these make them differ.
WITH_SHARED_LEASE = {"different-bytes": 1.0, "message-doubled": 0.3, "freeze-when-frozen": 0.5, "freeze": 2e-3}
SWITCH = (0.01, 0.5)  # how likely another actor goes on at a point


@dataclass(slots=True)
class Faults:
    """The rates of one run. A kind that is off has rate 0."""

    rates: dict[str, float] = field(default_factory=dict)
    switch: float = 0.1
    storm_seconds: float = 0.0

    @property
    def on(self) -> tuple[str, ...]:
        return tuple(kind for kind in KINDS if self.rates[kind])


def draw_faults(chance: random.Random, without: Collection[str] = ()) -> Faults:
    """The faults of a seed. The same draws whatever is left out, so that leaving out changes nothing else."""
    density = chance.uniform(0.1, 0.6)  # how many kinds are on: few at once find more than all at once
    rates = {}
    for kind in KINDS:
        on = chance.random() < RARE.get(kind, density)
        rate = _rate(kind, chance)
        rates[kind] = rate if on and kind not in without else 0.0
    for kind, rate in WITH_SHARED_LEASE.items():
        if rates["lease-shared"] and kind not in without:
            rates[kind] = max(rate, rates[kind])
    switch = SWITCH[0] * (SWITCH[1] / SWITCH[0]) ** chance.random()
    return Faults(rates, switch, chance.uniform(5.0, 45.0))


def no_faults() -> Faults:
    return Faults(dict.fromkeys(KINDS, 0.0))


def _rate(kind: str, chance: random.Random) -> float:
    if kind in SPANS:
        return float(chance.randint(1, SPANS[kind]))
    least, most = POINTS.get(kind) or CALLS[kind]
    return float(least * (most / least) ** chance.random())
