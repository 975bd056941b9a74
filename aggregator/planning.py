"""The plan of a job's next round: written beside the checkpoint that it starts from, checked against what stands."""

from __future__ import annotations

from ..storage.documents import Base, Manifest, Plan
from ..storage.errors import StorageError
from ..storage.job import JobSpec
from ..storage.rules import rule_of
from .balancing import next_shares
from .glance import Glance
from .patience import Patience
from .plan import first_plan
from .ports import Begun, House
from .record import Record


class Planning:
    """One job's.

    A plan names the digest of its round's base. Where it was written before that checkpoint stood, and another
    leader's bytes came to stand instead, perhaps of another torch build, the next plan of the round names those:
    nobody was asked by the first, as round jobs go out only when the base is there.
    """

    def __init__(self, house: House, spec: JobSpec, record: Record, patiently: Patience, glance: Glance) -> None:
        self._house = house
        self._spec = spec
        self._record = record
        self._patiently = patiently
        self._glance = glance
        self._hears = rule_of(spec).hears
        self._ahead: tuple[int, Begun[tuple[Plan, bool]]] | None = None

    def begin(self, manifest: Manifest) -> None:
        """Begin to write the plan of the round after this one, whose checkpoint is made and not written yet."""
        number = manifest.round + 1
        made = self._house.numbers.made(self._spec, manifest)
        if made is None or number > self._spec.rounds or self._spec.balance.balances:
            return
        base, server = made
        plan = first_plan(self._spec, number, base, server if self._hears else None)
        self._ahead = number, self._house.begin(lambda: self._record.settle_plan(plan))

    def plan(self, number: int, *, flowing: bool) -> tuple[Plan, bool]:
        """The plan that stands for this round, and whether it was made just now.

        Args:
            number: of the round; the one before it is committed.
            flowing: we committed that.
        """
        ahead, self._ahead = self._ahead, None
        base, server = self._start_of(number)
        standing = None if flowing else self._patiently(self._record.last_plan, number)
        if standing is not None:
            return self._from(standing, base, server), False
        first = self._balanced(first_plan(self._spec, number, base, server))
        if flowing:  # most likely ours will stand, and then only a look is between it and the round jobs
            self._glance.begin()
        plan, ours = self._settled(first, ahead[1] if ahead is not None and ahead[0] == number else None)
        if not ours:
            plan = self._patiently(self._record.last_plan, number) or plan
        right = self._from(plan, base, server)
        return right, ours and right is plan

    def _start_of(self, number: int) -> tuple[Base | None, Base | None]:
        if not number:
            return None, None
        numbers, job = self._house.numbers, self._spec.job
        server = self._patiently(numbers.server, job, number - 1) if self._hears else None
        return self._patiently(numbers.base, job, number - 1), server

    def _settled(self, first: Plan, begun: Begun[tuple[Plan, bool]] | None) -> tuple[Plan, bool]:
        if begun is not None:
            try:
                return begun()
            except StorageError:
                pass  # with patience, then: if it was written all the same, it stands
        return self._patiently(self._record.settle_plan, first)

    def _from(self, plan: Plan, base: Base | None, server: Base | None) -> Plan:
        """This plan, or its successor that names what the round really starts from."""
        while (plan.base, plan.server) != (base, server):
            wanted = plan.model_copy(update={"number": plan.number + 1, "base": base, "server": server})
            plan, _ = self._patiently(self._record.settle_plan, wanted)
        return plan

    def _balanced(self, plan: Plan) -> Plan:
        """With each client's share of work, as it follows from the round before."""
        before = plan.round - 1
        if not self._spec.balance.balances or before < 1:
            return plan
        last, manifest = self._patiently(self._record.last_plan, before), self._patiently(self._record.manifest, before)
        return plan if last is None else plan.model_copy(update={"shares": next_shares(self._spec, last, manifest)})
