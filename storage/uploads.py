"""Uploads in parts that nobody completed: they take room, and are no objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

ABANDONED_SECONDS = 86_400.0  # an upload that is a day old has lost its writer


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload that was begun."""

    key: str
    id: str
    age_seconds: float  # by the store's own clock


@runtime_checkable
class KeepsUploads(Protocol):
    """A store in which uploads can be left behind. Raises as an object store's verbs."""

    def uploads(self) -> Iterator[Upload]:
        """Every upload that was begun and neither completed nor aborted, as far as the store lists them."""
        ...

    def abort(self, upload: Upload) -> None:
        """End the upload, and free its parts; nothing happens where it is gone."""
        ...


def abandoned(store: object, seconds: float = ABANDONED_SECONDS) -> Iterator[Upload]:
    """The uploads of a store whose writers are gone."""
    if isinstance(store, KeepsUploads):
        yield from (upload for upload in store.uploads() if upload.age_seconds >= seconds)
