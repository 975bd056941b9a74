"""Labels on objects for whoever browses the store: S3's object tags. Nothing of Warren's reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from .errors import KeyRefused

LABELS_MAX = 10  # of one object: S3's own limit

_NAME = re.compile(r"[A-Za-z0-9+\-=._:/@]{1,128}\Z")
_VALUE = re.compile(r"[A-Za-z0-9+\-=._:/@ ]{0,256}\Z")


@runtime_checkable
class KeepsLabels(Protocol):
    """A store whose objects can be labelled, after they were made and as often as wanted."""

    def label(self, key: str, labels: Mapping[str, str]) -> None:
        """Let the object have these labels and no others; its bytes and its ETag stay.

        Raises:
            ObjectMissing: no such key.
            KeyRefused: S3 would not take these labels.
            StorageRefused, StorageUnavailable: as every verb of a store.
        """
        ...


def check_labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    """The labels as they are; none of their characters means anything to XML. Raises KeyRefused."""
    if len(labels) > LABELS_MAX:
        raise KeyRefused(f"{len(labels)} labels are more than the {LABELS_MAX} of one object")
    for name, value in labels.items():
        if not _NAME.match(name) or not _VALUE.match(value):
            raise KeyRefused(f"label {name[:80]!r}: {value[:80]!r} is not of letters, digits and + - = . _ : / @")
    return labels
