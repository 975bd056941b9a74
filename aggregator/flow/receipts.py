"""What a flow's leader knows of each attempt: like a round's, but each client is asked in a round of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ...storage import keys
from ...storage.documents import Entry
from ...storage.keys import UpdateName
from ..events import Answer
from ..receipts import Receipts, claims_of
from .events import Flow


@dataclass(slots=True)
class FlowReceipts(Receipts):
    """The attempts of all asks that may still count. `round` is the version that is to be made."""

    rounds: Mapping[str, int] = field(default_factory=dict)  # client -> the round of its ask

    def expect(self, rounds: Mapping[str, int]) -> None:
        """These asks may still count, and no others: what is known of others is forgotten."""
        if rounds == self.rounds:
            return
        self.rounds = dict(rounds)
        self.entries = {c: e for c, e in self.entries.items() if e.base is not None and rounds.get(c) == e.base + 1}
        self._answers = {(c, a): told for (c, a), told in self._answers.items() if rounds.get(c) == told.round}

    def concerns(self, round_number: int, client: str) -> bool:
        """Whether this is an ask that may still count."""
        return self.rounds.get(client) == round_number

    def from_store(self) -> list[Answer]:
        """Examine what the store has for any open ask and was not announced."""
        prefixes = [keys.updates(self.spec.job, number) for number in sorted(set(self.rounds.values()))]
        listing = self.house.store.list
        return self.receive(self.patiently(lambda: [one for prefix in prefixes for one in claims_of(listing(prefix))]))

    def _expected(self, name: UpdateName) -> bool:
        mine = (name.job, name.source) == (self.spec.job, self.spec.source_of(name.client))
        return mine and self.concerns(name.round, name.client)

    def _keep(self, name: UpdateName, entry: Entry) -> None:
        self.entries[name.client] = replace(entry, base=name.round - 1)


def open_asks(flow: Flow) -> dict[str, int]:
    """The round of each ask that may still count: a success replaces a failure, until the version is made."""
    rounds = {client: one.base + 1 for client, one in flow.lost.items() if client in flow.listed}
    rounds |= {client: ask.round for client, ask in flow.out.items()}
    return rounds | {client: one.base + 1 for client, one in flow.ready.items()}
