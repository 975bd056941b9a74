"""How much room a store has left, where it can say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes that may still be written, of how many."""

    free: int
    total: int


@runtime_checkable
class StoreSpace(Protocol):
    """A store that may know its room. S3 has no such question: MinIO answers it to administrators alone."""

    def space(self) -> Space | None:
        """The room that is left; None where nobody says. Raises nothing, and waits a few seconds at most."""
        ...


def space_of(store: object) -> Space | None:
    """The room that is left in any store; None where it is not known."""
    return store.space() if isinstance(store, StoreSpace) else None
