"""The ledger in Redis: leases, deadlines, progress, presence, on Redis' own clock.

warren:epoch                     string: a random id; another one than before means that Redis was wiped
warren:lease:<job>               string, lives as the lease: the nonce of the aggregator that leads
warren:deadlines:<job>:<round>   hash, lives a week past its first one: name -> milliseconds since 1970
warren:progress:<job>            hash, lives until `forget`: what `set_progress` says
warren:presence:<kind>:<id>      string, lives as announced: the fields as JSON
warren:drain:<trainer>           string, lives a day: who asked this trainer to stop

A trainer needs GET, HGETALL and TIME, and SET on its own presence: where ids of a site's trainers start with
the site, its account may write `warren:presence:trainer:<site>*` and no more. The scripts (EVALSHA, SCRIPT
LOAD), SCAN and UNLINK are an aggregator's. All may be wiped at any moment.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import redis

from .ports import Presence, Pulse
from .redis_link import RedisLink
from .redis_link import connect as connect

PRESENCES_MAX = 20_000  # of a kind; further ones are not shown
PRESENCE_BYTES_MAX = 16_384  # of one; its author decides its size
TIME_KEPT_SECONDS = 1.0  # that our own clock carries on Redis': a round reads it some sixteen times
DRAIN_KEPT_SECONDS = 86_400
DEADLINE_KEPT_SECONDS = 7 * 86_400  # after the last one of a round; a job paused for longer starts them again

_ACQUIRE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

# PEXPIRE and not SET: it works at maxmemory too, so that a full Redis does not cost every job its leader.
_RENEW = """
local epoch = redis.call('GET', KEYS[1])
if not epoch then
    epoch = ARGV[3]
    redis.call('SET', KEYS[1], epoch)
end
local held = {}
for place = 2, #KEYS do
    if redis.call('GET', KEYS[place]) == ARGV[1] then
        held[place - 1] = redis.call('PEXPIRE', KEYS[place], ARGV[2])
    else
        held[place - 1] = 0
    end
end
return {redis.call('TIME'), epoch, held}
"""

_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

_START_DEADLINE = """
local now = redis.call('TIME')
local at = now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[2]
if redis.call('HSETNX', KEYS[1], ARGV[1], string.format('%.0f', at)) == 1 then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return redis.call('HGET', KEYS[1], ARGV[1])
"""


class RedisLedger:
    """`storage.ports.Ledger` on one Redis. Any thread may call any verb."""

    def __init__(self, client: redis.Redis, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is asked yet. `clock`: seconds, for the moments between two looks at Redis' own."""
        self._clock = clock
        self._seen = (0.0, -TIME_KEPT_SECONDS)  # Redis' seconds, and ours as they came
        self._link = RedisLink(client)
        self._acquire = client.register_script(_ACQUIRE)
        self._renew = client.register_script(_RENEW)
        self._release = client.register_script(_RELEASE)
        self._start_deadline = client.register_script(_START_DEADLINE)

    def now(self) -> float:
        time_there, seen_at = self._seen
        since = self._clock() - seen_at
        return time_there + since if since < TIME_KEPT_SECONDS else self._see(self._link.command("TIME"))

    def _see(self, answer: Sequence[Any]) -> float:
        """Redis' time, as it came just now: what is reckoned from it lags by the answer's way, and is never early."""
        self._seen = (_seconds(*answer), self._clock())
        return self._seen[0]

    def acquire(self, job: str, nonce: str, seconds: float) -> bool:
        return bool(self._run(self._acquire, [_lease(job)], [nonce, _milliseconds(seconds)]))

    def renew(self, jobs: Sequence[str], nonce: str, seconds: float) -> Pulse:
        keys = ["warren:epoch", *map(_lease, jobs)]
        arguments = [nonce, _milliseconds(seconds), uuid.uuid4().hex]
        time_there, epoch, held = self._run(self._renew, keys, arguments)
        ours = frozenset(job for job, flag in zip(jobs, held, strict=True) if flag)
        return Pulse(self._see(time_there), _text(epoch), ours)

    def release(self, job: str, nonce: str) -> None:
        self._run(self._release, [_lease(job)], [nonce])

    def holder(self, job: str) -> str | None:
        nonce = self._link.command("GET", _lease(job))
        return None if nonce is None else _text(nonce)

    def start_deadline(self, job: str, round_number: int, name: str, seconds: float) -> float:
        away = _milliseconds(seconds)
        arguments = [name, away, away + 1000 * DEADLINE_KEPT_SECONDS]
        return float(self._run(self._start_deadline, [_deadlines(job, round_number)], arguments)) / 1000

    def deadlines(self, job: str, round_number: int) -> Mapping[str, float]:
        found = self._link.command("HGETALL", _deadlines(job, round_number))
        return {_text(name): float(at) / 1000 for name, at in found.items()}

    def set_progress(self, job: str, fields: Mapping[str, str]) -> None:
        if fields:
            self._link.command("HSET", _progress(job), *(part for field in fields.items() for part in field))

    def progress(self, job: str) -> Mapping[str, str]:
        found = self._link.command("HGETALL", _progress(job))
        return {_text(name): _text(value) for name, value in found.items()}

    def announce(self, presence: Presence, seconds: float) -> None:
        body = json.dumps(dict(presence.fields), ensure_ascii=False)
        self._link.command("SET", _presence(presence.kind, presence.id), body, "PX", _milliseconds(seconds))

    def presences(self, kind: str) -> Sequence[Presence]:
        start = _presence(kind, "")
        keys = islice(self._link.scan(f"{start}*"), PRESENCES_MAX)
        ids = sorted({key.removeprefix(start) for key in keys})
        said = zip(ids, self._fields(start, ids), strict=True)
        return [Presence(kind, who, fields) for who, fields in said if fields is not None]

    def ask_to_stop(self, trainer: str, by: str) -> None:
        """Ask a trainer to hand back its work and stop; it looks every few seconds."""
        self._link.command("SET", _drain(trainer), by[:255], "PX", _milliseconds(DRAIN_KEPT_SECONDS))

    def asked_to_stop(self, trainer: str) -> str | None:
        """Who asked this trainer to stop; None: nobody did."""
        by = self._link.command("GET", _drain(trainer))
        return None if by is None else _text(by)

    def stopped(self, trainer: str) -> None:
        """Forget the asking, so that a trainer of this name may start again."""
        self._link.command("UNLINK", _drain(trainer))

    def forget(self, job: str) -> None:
        self._link.command("UNLINK", _lease(job), _progress(job), *self._link.scan(_deadlines(job, "*")))

    def _fields(self, start: str, ids: Sequence[str]) -> list[dict[str, str] | None]:
        """What each of these says of itself, in one round trip; None where it has gone."""
        looks = [("GETRANGE", start + who, 0, PRESENCE_BYTES_MAX) for who in ids]
        return [_read_fields(body) for body in self._link.commands(looks, tolerant=True)] if looks else []

    def _run(self, script: Any, keys: Sequence[str], arguments: Sequence[object]) -> Any:
        return self._link.ask(lambda: script(keys=keys, args=arguments))


def _lease(job: str) -> str:
    return f"warren:lease:{job}"


def _deadlines(job: str, round_number: int | str) -> str:
    return f"warren:deadlines:{job}:{round_number}"


def _progress(job: str) -> str:
    return f"warren:progress:{job}"


def _drain(trainer: str) -> str:
    return f"warren:drain:{trainer}"


def _presence(kind: str, who: str) -> str:
    return f"warren:presence:{kind}:{who}"


def _read_fields(body: Any) -> dict[str, str] | None:
    """The fields of one presence. Its author decides what stands there: rubbish is said, not raised."""
    if body == b"":
        return None
    try:
        fields = json.loads(body) if len(body) <= PRESENCE_BYTES_MAX else None
    except (TypeError, ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        return {"state": "unreadable"}
    return {str(name): str(value) for name, value in fields.items()}


def _milliseconds(seconds: float) -> int:
    return max(1, round(1000 * seconds))


def _seconds(seconds: bytes | int, microseconds: bytes | int) -> float:
    return int(seconds) + int(microseconds) / 1e6


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
