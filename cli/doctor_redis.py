"""Redis, looked over: version, eviction, memory, what a restart keeps, its clock."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ..storage import redis_link
from ..storage.errors import StorageRefused
from ..storage.ledger import RedisLedger
from .context import Addresses, without_secret
from .findings import Finding, Level
from .tables import size_text

VERSION_MIN = (6, 2)  # XTRIM by MINID
CLOCK_SECONDS_MAX = 5.0
FULL = 0.8  # of maxmemory
_POLICY_CHANGE = "CONFIG SET maxmemory-policy noeviction, and write it into redis.conf: news must not be evicted"


def redis_findings(addresses: Addresses) -> Iterator[Finding]:
    """Everything about Redis. Raises StorageError where it can't be reached at all."""
    client = redis_link.connect(addresses.redis_with_tls)
    link = redis_link.RedisLink(client)
    begun = time.monotonic()
    seconds, _ = link.command("TIME")
    where = f"{without_secret(addresses.redis)} ({1000 * (time.monotonic() - begun):.0f} ms)"
    skew = int(seconds) - time.time()
    try:
        info: Mapping[str, Any] = link.command("INFO")
    except StorageRefused as error:
        yield Finding("redis", "ok", f"answers at {where}")
        yield Finding("redis", "note", f"its settings are not known: {error}", "Run this as a user with +info")
        return
    yield from _version(info, where)
    yield from _memory(info)
    yield from _kept(info)
    yield from _leading(RedisLedger(client))
    yield from skew_findings(skew)


def skew_findings(skew: float) -> Iterator[Finding]:
    """Redis's clock beside this machine's, in seconds ahead."""
    if abs(skew) > CLOCK_SECONDS_MAX:
        seen = f"its clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
        yield Finding("redis", "note", seen, "Nothing is decided by comparing clocks, but set them for the logs' sake")


def _version(info: Mapping[str, Any], where: str) -> Iterator[Finding]:
    product = "Valkey" if "valkey_version" in info else "Redis"
    version = str(info.get("valkey_version") or info.get("redis_version") or "?")
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < VERSION_MIN:
        yield Finding("redis", "wrong", f"{product} {version} at {where}", "Take 6.2 or newer, or Valkey")
    else:
        yield Finding("redis", "ok", f"{product} {version} at {where}")
    if info.get("role", "master") != "master":
        yield Finding("redis", "wrong", "it is a replica, which takes no writes", "Give the primary's address")


def _memory(info: Mapping[str, Any]) -> Iterator[Finding]:
    policy, most, used = (info.get(name) for name in ("maxmemory_policy", "maxmemory", "used_memory"))
    limit, taken = int(most or 0), int(used or 0)
    if policy not in (None, "noeviction"):
        level: Level = "wrong" if limit else "note"
        seen = f"maxmemory-policy {policy} deletes keys when memory runs out"
        yield Finding("redis", level, seen + ("" if limit else "; maxmemory is not set, so never"), _POLICY_CHANGE)
    elif policy is not None:
        yield Finding(
            "redis", "ok", f"evicts nothing; {size_text(taken)} used of {size_text(limit) if limit else 'all there is'}"
        )
    if limit and taken > FULL * limit:
        seen = f"nearly full: {size_text(taken)} of {size_text(limit)}"
        yield Finding("redis", "wrong", seen, "Raise maxmemory: a full Redis takes no news")


def _kept(info: Mapping[str, Any]) -> Iterator[Finding]:
    if str(info.get("aof_enabled", "")) == "0":
        yield Finding(
            "redis", "note", "appendonly is off: a restart forgets news and leases",
            "appendonly yes keeps them. Without it nothing committed is lost: open rounds are asked again",
        )  # fmt: skip
    elif info.get("aof_last_write_status", "ok") != "ok":
        yield Finding("redis", "wrong", "its append-only file can't be written", "Free disk there; see its log")
    elif "aof_enabled" in info:
        yield Finding("redis", "ok", "appendonly is on: a restart keeps news and leases")
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        seen = "its last snapshot failed; with stop-writes-on-bgsave-error it takes no writes"
        yield Finding("redis", "wrong", seen, "Free disk there; see its log")


def _leading(ledger: RedisLedger) -> Iterator[Finding]:
    job, nonce = f"doctor-{secrets.token_hex(4)}", secrets.token_hex(8)
    try:
        ledger.acquire(job, nonce, 5.0)
        ledger.release(job, nonce)
    except StorageRefused as error:
        change = "Right for a trainer's account. An aggregator's needs +@scripting on ~warren:* (ACL SETUSER)"
        yield Finding("redis", "note", f"this account may not lead jobs: {error}", change)
