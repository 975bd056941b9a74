"""The JSON of a safetensors header: read with limits, and what was read before is not read again.

Files of one model differ in their metadata alone. With thousands of small updates a round, reading the same
tensors' fields again and again cost more than all else that is done with an update.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

from .errors import ObjectDamaged

MARKS_MAX = 24 * 65_536  # of { [ and , : each costs the parser up to 100 bytes, whatever stands between
KNOWN_MAX = 32  # forms that are remembered: an update's and a checkpoint's of every model that is at work here
FORM_BYTES_MAX = 1 << 18  # a longer header is read anew each time, which beside its tensors costs nothing

_OPENING = b'{"__metadata__":'

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


def load(text: bytes) -> dict[str, Any]:
    """The fields of a header; a key that stands there twice is an error. Raises ObjectDamaged."""
    if sum(text.count(mark) for mark in (b"{", b"[", b",")) > MARKS_MAX:
        raise ObjectDamaged("header holds more items than any model has")
    if text[:1] != b"{":
        raise ObjectDamaged("header is not a JSON object")
    try:
        fields = _DECODER.decode(text.decode())
    except (ValueError, RecursionError) as error:  # JSON and Unicode errors are ValueErrors
        raise ObjectDamaged(f"header is not JSON: {str(error)[:120]}") from None
    assert isinstance(fields, dict)
    return fields


def split(text: bytes) -> tuple[dict[str, Any], str] | None:
    """The metadata, and the text behind them (the form); None for a header that has no metadata first, or is long."""
    if not text.startswith(_OPENING) or len(text) > FORM_BYTES_MAX:
        return None
    try:
        whole = text.decode()
        metadata, end = _DECODER.raw_decode(whole, len(_OPENING))
    except (ValueError, RecursionError):
        return None
    return (metadata, whole[end:]) if isinstance(metadata, dict) else None


class Known(Generic[K, T]):
    """What was made of a header's text. Any thread may ask.

    Equal texts behind a metadata object are equal JSON, and what is kept here passed every check once: nothing
    gets past a check by way of this memory.
    """

    def __init__(self) -> None:
        self._made: OrderedDict[K, T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, text: K) -> T | None:
        with self._lock:
            if text in self._made:
                self._made.move_to_end(text)
            return self._made.get(text)

    def keep(self, text: K, made: T) -> T:
        """Remember what was made of this text; what stands for it (another thread may have been first)."""
        with self._lock:
            made = self._made.setdefault(text, made)
            if len(self._made) > KNOWN_MAX:
                self._made.popitem(last=False)
        return made


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key stands there twice")
    return fields


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON value")


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)
