"""The news of jobs in one process, for many threads: the same promises as on Redis streams, the same bytes."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from operator import itemgetter

from .completions import COMPLETIONS_MAX, CONTROL, NUDGES_MAX, READ_ITEMS_MAX, START, NewsItem
from .messages import Completion, encode

_Entry = tuple[int, bytes]  # its number, in the order of appending to all streams, and its bytes


class MemoryNews:
    """As `completions.News`. An embedded run tells thousands a second, for which an emulated server is too slow."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._streams: dict[tuple[str, str], list[_Entry]] = {}  # by job and source
        self._number = 0

    def append(self, completion: Completion, source: str) -> None:
        """Tell the job's leader."""
        self.append_all([completion], source)

    def append_all(self, completions: Sequence[Completion], source: str) -> None:
        """As `append`, in order."""
        told = [(completion.job, encode(completion)) for completion in completions]
        with self._changed:
            for job, body in told:
                self._append(job, source, body, COMPLETIONS_MAX)
            self._changed.notify_all()

    def nudge(self, job: str) -> None:
        """Make the job's leader look at the control documents."""
        with self._changed:
            self._append(job, CONTROL, b"", NUDGES_MAX)
            self._changed.notify_all()

    def read(
        self, job: str, sources: Sequence[str], after: Mapping[str, str], timeout_seconds: float
    ) -> list[NewsItem]:
        """As `completions.News.read`."""
        places = {source: _number(after.get(source, START)) for source in (*sources, CONTROL)}
        with self._changed:
            self._changed.wait_for(
                lambda: any(self._last(job, source) > number for source, number in places.items()), timeout_seconds
            )
            count = max(1, READ_ITEMS_MAX // len(places))
            return [item for source, number in places.items() for item in self._after(job, source, number, count)]

    def trim(self, job: str, source: str, up_to_id: str) -> None:
        """Forget what was read and is committed: all entries up to this id, and it too."""
        with self._changed:
            entries = self._streams.get((job, source), [])
            del entries[: bisect_right(entries, _number(up_to_id), key=itemgetter(0))]

    def forget(self, job: str) -> None:
        """Drop every stream of a job that ended."""
        with self._changed:
            self._streams = {place: entries for place, entries in self._streams.items() if place[0] != job}

    def _append(self, job: str, source: str, body: bytes, most: int) -> None:
        self._number += 1
        entries = self._streams.setdefault((job, source), [])
        entries.append((self._number, body))
        if len(entries) > most:
            del entries[0]

    def _last(self, job: str, source: str) -> int:
        entries = self._streams.get((job, source))
        return entries[-1][0] if entries else 0

    def _after(self, job: str, source: str, number: int, count: int) -> list[NewsItem]:
        entries = self._streams.get((job, source), [])
        start = bisect_right(entries, number, key=itemgetter(0))
        return [NewsItem(source, f"{number}-0", body) for number, body in entries[start : start + count]]


def _number(entry_id: str) -> int:
    return int(entry_id.partition("-")[0])
