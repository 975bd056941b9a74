"""What an aggregator has at hand for one job, from round to round."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..storage import keys
from ..storage.documents import Base, Entry, Manifest
from ..storage.tensors import Header, Written
from .fold import Fold
from .small import Small
from .spool import Spool


@dataclass(frozen=True, slots=True)
class Made:
    """A checkpoint's bytes that lie here in files, and the manifest that they follow from."""

    manifest: Manifest
    checkpoint: Written
    optimizer: Written | None

    @property
    def bases(self) -> tuple[Base, Base | None]:
        """The two as the round after it names them."""
        job, number, state = self.manifest.job, self.manifest.round, self.optimizer
        checkpoint = Base(key=keys.checkpoint(job, number), digest=self.checkpoint.digest, size=self.checkpoint.size)
        if state is None:
            return checkpoint, None
        return checkpoint, Base(key=keys.optimizer(job, number), digest=state.digest, size=state.size)


@dataclass(slots=True)
class Desk:
    """What is at hand for one job: the spool, the checkpoint that the round starts from, the sum so far."""

    spool: Spool
    bases: dict[str, Base] = field(default_factory=dict)  # by key
    header: Header | None = None  # of the base with this digest
    header_digest: str = ""
    small: dict[tuple[str, str], Small] = field(default_factory=dict)  # examined; by client and attempt
    waiting: dict[str, Entry] = field(default_factory=dict)  # client -> examined, not folded
    examined: set[str] = field(default_factory=set)  # digests of this round's updates
    fold: Fold | None = None
    folded: int = 0  # how many of the order are in the sum
    stateless: int | None = None  # the last round, where we wrote its checkpoint and its strategy kept nothing
    made: Made | None = None  # by `prepare`
    ahead: bool | None = None  # whether this round's updates are folded as they come; None: not asked yet
