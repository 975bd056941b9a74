"""One update as the formulas see it: its share, what its client says, and its weight in the fold. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ...storage.documents import Entry
from ...storage.job import JobSpec
from ...storage.rules import counts_examples
from .options import STRATEGIES

LOSS_LEAST = 1e-10  # as in q-FedAvg's authors' code: a loss of 0 to a power below 0 is no number


@dataclass(frozen=True, slots=True)
class Counted:
    """One update of the round, as far as a formula may take it from its manifest entry.

    Attributes:
        share: its examples, or 1 where all count alike; not divided by their sum.
        terms: what the client says, within the bounds of `storage.rules`.
    """

    client: str
    share: float
    terms: Mapping[str, float] = field(default_factory=dict)

    @property
    def nova(self) -> float:
        """FedNova's p_i / |a_i|_1."""
        return self.share / self.terms["a"]

    def fair(self, q: float) -> float:
        """q-FedAvg's p_k F_k^q."""
        return self.share * float(max(self.terms["loss"], LOSS_LEAST) ** q)


def counted(spec: JobSpec, entry: Entry) -> Counted:
    """An entry of a manifest under the job's weighting."""
    return counted_of(spec, [entry])[0]


def counted_of(spec: JobSpec, entries: Iterable[Entry]) -> tuple[Counted, ...]:
    """As `counted`, of each entry of a manifest."""
    by_examples = counts_examples(spec)
    return tuple(Counted(one.client, float(one.examples) if by_examples else 1.0, one.terms) for one in entries)


def weight(spec: JobSpec, entry: Entry) -> float:
    """How much an update counts in the fold of a round."""
    one, name = counted(spec, entry), spec.strategy.name
    if name == "fednova":
        return one.nova
    if name == "qfedavg":
        return one.fair(float(spec.strategy.options.get("q", STRATEGIES[name]["q"].default)))  # type: ignore[arg-type]
    return one.share
