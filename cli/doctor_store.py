"""The object store, looked over: the bucket, create-once, rules that delete, its clock."""

from __future__ import annotations

import contextlib
import secrets
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime

from ..storage.errors import StorageError
from ..storage.s3 import S3Store
from ..storage.s3_requests import Requests
from .context import Addresses
from .findings import Finding
from .store_address import store_address

RETRY_SECONDS = 3.0
CLOCK_SECONDS_MAX = 300.0  # S3 refuses requests that are signed 15 minutes early or late
PROBES = "doctor/"
OURS = ("jobs/", "updates/")


def store_findings(addresses: Addresses) -> Iterator[Finding]:
    """Everything about the store. Raises StorageError where it can't be reached, or has no such bucket."""
    address = store_address(addresses)
    requests = Requests(address, RETRY_SECONDS)
    store = S3Store(address, retry_seconds=RETRY_SECONDS)
    with contextlib.closing(store), contextlib.closing(requests):
        next(store.list("jobs/"), None)  # says it plainly where there is no such bucket
        begun = time.monotonic()
        headers, _ = requests.ask_patiently("HEAD", "")
        took = 1000 * (time.monotonic() - begun)
        product = str(headers.get("server", "") or "a store")[:40]
        yield Finding("store", "ok", f"{product} at {addresses.s3}, bucket {addresses.bucket} ({took:.0f} ms)")
        yield from _create_once(store)
        yield from _rules(requests)
        yield from clock_findings(headers)


def _create_once(store: S3Store) -> Iterator[Finding]:
    """Of two writers of one key the first must win: everything that Warren commits rests on it."""
    key = f"{PROBES}{secrets.token_hex(8)}"
    try:
        first, second = store.create(key, b"first"), store.create(key, b"second")
        kept = store.read(key)
        info = store.stat(key)
        replaced = info is not None and store.replace(key, b"third", tag="0" * 32)
    except StorageError as error:
        change = "Right for a site's account, which writes its own updates only. For others: put, get, delete, list"
        yield Finding("store", "note", f"this account could not try create-once: {error}", change)
        return
    finally:
        with contextlib.suppress(StorageError):
            store.delete(key)
    if not first or second or kept != b"first":
        change = "Take a store that honours If-None-Match on PUT: MinIO from 2024, S3, Ceph from Squid"
        yield Finding("store", "wrong", "it overwrites what must be created once", change)
    elif replaced:
        change = "Take a store that honours If-Match on PUT: MinIO, S3"
        yield Finding("store", "wrong", "it replaces an object that has changed meanwhile", change)
    else:
        yield Finding("store", "ok", "create-once and replace-if-unchanged are honoured")


def _rules(requests: Requests) -> Iterator[Finding]:
    """Lifecycle rules must not delete what Warren keeps: only its collector knows what may go."""
    try:
        _, answer = requests.ask_patiently("GET", "", query="lifecycle=")
        rules = ElementTree.fromstring(answer)
    except (StorageError, ElementTree.ParseError):  # there are none, or this account may not ask
        return
    for rule in rules.iterfind("{*}Rule"):
        prefix = next((element.text or "" for element in rule.iter() if element.tag.endswith("}Prefix")), "")
        deletes = rule.find("{*}Expiration") is not None and rule.findtext("{*}Status") == "Enabled"
        if deletes and any(ours.startswith(prefix) or prefix.startswith(ours) for ours in OURS):
            name = (rule.findtext("{*}ID") or "?")[:60]
            change = "Remove it, or give it another prefix: `warren job gc` deletes what is not needed"
            yield Finding("store", "wrong", f"lifecycle rule {name!r} deletes objects below {prefix or '/'!r}", change)


def clock_findings(headers: Mapping[str, str]) -> Iterator[Finding]:
    """The store's clock beside this machine's, by what it said with an answer."""
    try:
        skew = parsedate_to_datetime(str(headers.get("date", ""))).timestamp() - time.time()
    except (TypeError, ValueError):
        return
    if abs(skew) > CLOCK_SECONDS_MAX:
        seen = f"its clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
        yield Finding("store", "wrong", seen, "Set both by NTP: signatures are refused at 15 minutes")
    else:
        yield Finding("store", "ok", f"its clock is within {max(1, round(abs(skew)))} s of this machine's")
