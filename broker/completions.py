"""Completions and nudges on Redis streams: appended, followed by a job's leader, trimmed after commit.

completions:<job>:<source>   stream, written by that source's trainers; field `m`: a Completion in msgpack
control:<job>                stream, written by whoever commands a job: look at the control documents

Both are bounded in length and go away when nothing was appended for `STREAM_IDLE_SECONDS`. They may be lost
or wiped at any moment; the store is asked then. No consumer groups: a leader reads from the start. A trainer
needs XADD and EXPIRE on its own stream, an aggregator XREAD, XTRIM, SCAN, UNLINK besides.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from .messages import MESSAGE_BYTES_MAX, Completion, encode
from .redis_link import RedisLink
from .redis_link import connect as connect

COMPLETIONS_MAX = 1 << 17  # entries of a stream, about 50 MB: more than a round of the most clients a job has
NUDGES_MAX = 100
READ_ITEMS_MAX = 4096  # of one read, over all streams
BLOCK_SECONDS_MAX = 3.0  # of one XREAD; under redis-py's own socket timeout of 5 s, and ours of 10 s
STREAM_IDLE_SECONDS = 7 * 86_400  # a job paused for longer is rebuilt from the store
CONTROL = "control"
START = "0-0"

_FIELD = b"m"
_SEQUENCE_MAX = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class NewsItem:
    """One entry of a stream: `source` is who appended it, or "control" for a nudge.

    `body` is what stands there, readable or not, cut after `MESSAGE_BYTES_MAX` + 1 bytes: still too long.
    """

    source: str
    id: str
    body: bytes


class News:
    """The streams of all jobs. Any thread may call any verb, also while another one blocks in `read`.

    Raises (each verb): BrokerUnavailable after a bound; BrokerRefused for credentials and rights.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._link = RedisLink(client)

    def append(self, completion: Completion, source: str) -> None:
        """Tell the job's leader. After a lost answer it may stand there twice, and still counts once."""
        self.append_all([completion], source)

    def append_all(self, completions: Sequence[Completion], source: str) -> None:
        """As `append`, in order, in one round trip. Where it fails, some of them may stand there."""
        streams = [_stream(completion.job, source) for completion in completions]
        entries = zip(streams, map(encode, completions), strict=True)
        adds = [("XADD", stream, "MAXLEN", "~", COMPLETIONS_MAX, "*", _FIELD, body) for stream, body in entries]
        self._link.commands([*adds, *(("EXPIRE", stream, STREAM_IDLE_SECONDS) for stream in dict.fromkeys(streams))])

    def nudge(self, job: str) -> None:
        """Make the job's leader look at the control documents."""
        stream = _stream(job, CONTROL)
        add = ("XADD", stream, "MAXLEN", "~", NUDGES_MAX, "*", _FIELD, b"")
        self._link.commands([add, ("EXPIRE", stream, STREAM_IDLE_SECONDS)])

    def read(
        self, job: str, sources: Sequence[str], after: Mapping[str, str], timeout_seconds: float
    ) -> list[NewsItem]:
        """What came after these ids, of each source and of the control stream; waits until something does.

        Args:
            job: whose streams.
            sources: "pool.<name>" and "site.<name>"; the control stream is always read too.
            after: the last id seen of each source (and of "control"); "0-0" where one is missing. After Redis
                was wiped (the ledger's epoch changed) start again from nothing.
            timeout_seconds: how long to wait for the first item; 0 only looks.

        Returns:
            Items in the order of each stream, `READ_ITEMS_MAX` at most; none after the timeout.
        """
        places = {_stream(job, source).encode(): source for source in (*sources, CONTROL)}
        ids = [after.get(source, START) for source in places.values()]
        count = max(1, READ_ITEMS_MAX // len(places))
        until = time.monotonic() + timeout_seconds
        while True:
            left = min(until - time.monotonic(), BLOCK_SECONDS_MAX)
            block = ("BLOCK", max(1, round(1000 * left))) if left > 0 else ()
            question = ("XREAD", "COUNT", count, *block, "STREAMS", *places, *ids)
            items = list(_items(self._link.command(*question), places))
            if items or time.monotonic() >= until:
                return items

    def trim(self, job: str, source: str, up_to_id: str) -> None:
        """Forget what was read and is committed: all entries up to this id, and it too."""
        self._link.command("XTRIM", _stream(job, source), "MINID", _next_id(up_to_id))

    def forget(self, job: str) -> None:
        """Drop every stream of a job that ended."""
        keys = self._link.scan(_stream(job, "*"))
        self._link.command("UNLINK", _stream(job, CONTROL), *keys)


def _stream(job: str, source: str) -> str:
    return f"{CONTROL}:{job}" if source == CONTROL else f"completions:{job}:{source}"


def _items(reply: Any, places: Mapping[bytes, str]) -> Iterator[NewsItem]:
    for stream, entries in _streams(reply):
        for entry_id, fields in entries:
            body = (fields or {}).get(_FIELD, b"")
            yield NewsItem(places[stream], entry_id.decode(), body[: MESSAGE_BYTES_MAX + 1])


def _streams(reply: Any) -> Iterable[tuple[bytes, Any]]:
    """redis-py's two shapes of an answer to XREAD: pairs (RESP2), or a map of lists of lists (RESP3)."""
    if not isinstance(reply, dict):
        return reply or ()
    return ((stream, [entry for part in parts for entry in part]) for stream, parts in reply.items())


def _next_id(entry_id: str) -> str:
    milliseconds, _, sequence = entry_id.partition("-")
    if int(sequence or 0) >= _SEQUENCE_MAX:
        return f"{int(milliseconds) + 1}-0"
    return f"{int(milliseconds)}-{int(sequence or 0) + 1}"
