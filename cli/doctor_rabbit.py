"""RabbitMQ, looked over: its version, its queues, and over the management API its alarms and policies."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from ..broker.errors import BrokerRefused, BrokerUnavailable
from ..broker.rabbit import RabbitBroker
from ..broker.topology import DEAD_LETTERS, ROUNDS_DEAD, SUBMISSIONS, evaluations_queue, rounds_queue
from ..storage.job import JobSpec
from .admin_rabbit import API_VARIABLE, RabbitAdmin
from .context import Addresses, without_secret
from .findings import Finding, Level
from .jobfile import span
from .tables import size_text

CONNECT_SECONDS = 6.0
VERSION_MIN = (3, 10)  # quorum queues with at-least-once dead letters
TIMEOUT_POLICY_VERSION = (3, 12)  # before it a queue's own consumer timeout is ignored
DROPPING = ("message-ttl", "expires", "max-length", "max-length-bytes")
ROOM = 2.0  # times the disk limit: below it an alarm is near
QUEUES_SHOWN = 20


def doctors_broker(addresses: Addresses) -> RabbitBroker:
    """RabbitMQ at these addresses, the caller's to close; it is reached when it is first asked."""
    ca_file, cert_file, key_file = addresses.tls_files
    return RabbitBroker(
        addresses.amqp,
        name="warren doctor",
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
        connect_seconds=CONNECT_SECONDS,
    )


def rabbit_findings(addresses: Addresses, spec: JobSpec | None) -> Iterator[Finding]:
    """Everything about RabbitMQ. Raises BrokerError where it can't be reached at all."""
    with contextlib.closing(doctors_broker(addresses)) as broker:
        begun = time.monotonic()
        facts = broker.server()
        took = time.monotonic() - begun
        yield version_finding(addresses, facts, took)
        queues = _queues(spec)
        yield from _queue_findings(broker, queues, spec)
    yield from _managed(addresses, spec, queues, _numbers(facts.get("version", "")))


def _queues(spec: JobSpec | None) -> list[str]:
    sources = spec.sources if spec is not None else ("pool.default",)
    return [SUBMISSIONS, *(queue(source) for source in sources for queue in (rounds_queue, evaluations_queue))]


def version_finding(addresses: Addresses, facts: Mapping[str, str], took: float) -> Finding:
    """Which broker answered, after how many seconds, and whether it is new enough."""
    said = f"{facts.get('product') or 'a broker'} {facts.get('version', '?')}"
    where = f"{without_secret(addresses.amqp)} ({1000 * took:.0f} ms)"
    if _numbers(facts.get("version", "")) >= VERSION_MIN:
        return Finding("rabbitmq", "ok", f"{said} at {where}")
    oldest = ".".join(map(str, VERSION_MIN))
    return Finding("rabbitmq", "wrong", f"{said} at {where}", f"Take {oldest} or newer: older ones lose dead letters")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def _queue_findings(broker: RabbitBroker, queues: Sequence[str], spec: JobSpec | None) -> Iterator[Finding]:
    depths = {queue: broker.depth(queue) for queue in queues[:QUEUES_SHOWN]}
    missing = [queue for queue, depth in depths.items() if depth is None]
    if missing:
        sites = "".join(f" --site {site}" for site in spec.sites[:5]) if spec is not None and spec.sites else ""
        pool = f" --pool {spec.pool}" if spec is not None and not spec.sites and spec.pool != "default" else ""
        level: Level = "wrong" if SUBMISSIONS in missing or spec is not None else "note"
        yield Finding("rabbitmq", level, f"no queue {', '.join(missing)}", f"Run `warren setup{sites}{pool}`")
    else:
        yield Finding("rabbitmq", "ok", f"{len(depths)} queues are there")
    dead = broker.depth(DEAD_LETTERS)
    if dead is not None and dead[0]:
        yield Finding("rabbitmq", "note", f"{dead[0]} dead letters wait for a person", "`warren dead-letter list`")
    unread = broker.depth(ROUNDS_DEAD)
    if unread is not None and unread[0] and not unread[1]:
        change = "Start an aggregator: it reads them, and fails their clients"
        yield Finding("rabbitmq", "wrong", f"{unread[0]} round jobs died, and nobody reads {ROUNDS_DEAD}", change)


def _managed(
    addresses: Addresses, spec: JobSpec | None, queues: Sequence[str], version: tuple[int, ...]
) -> Iterator[Finding]:
    """What only the management API tells; a note where there is none."""
    admin = RabbitAdmin(addresses)
    host = quote(unquote(urlsplit(addresses.amqp).path[1:]) or "/", safe="")
    try:
        nodes = admin.get("nodes")
        policies = [*(admin.get(f"policies/{host}") or ()), *(admin.get(f"operator-policies/{host}") or ())]
    except (BrokerUnavailable, BrokerRefused) as error:
        yield Finding("rabbitmq", "note", f"alarms and policies are not known: {error}", _NAME_API)
        return
    for node in nodes or ():
        yield from _node(node)
    for queue in queues:
        yield from _policies(queue, [policy for policy in policies if _applies(policy, queue)], spec, version)


_NAME_API = f"Name it with {API_VARIABLE}, and use an account tagged monitoring; or go without"


def _node(node: Mapping[str, Any]) -> Iterator[Finding]:
    name, free, limit = str(node.get("name", "?"))[:60], node.get("disk_free"), node.get("disk_free_limit")
    alarms = [what for what in ("disk", "mem") if node.get(f"{what}_{'free_' if what == 'disk' else ''}alarm")]
    if "disk" in alarms:
        yield Finding("rabbitmq", "wrong", f"{name}: disk alarm, publishing is blocked: {_room(free, limit)}", _DISK)
    if "mem" in alarms:
        yield Finding("rabbitmq", "wrong", f"{name}: memory alarm, publishing is blocked", _MEMORY)
    near = isinstance(free, int) and isinstance(limit, int) and free < ROOM * limit
    if near and not alarms:
        yield Finding("rabbitmq", "note", f"{name}: a disk alarm is near: {_room(free, limit)}", _DISK)
    elif not alarms:
        yield Finding("rabbitmq", "ok", f"no alarms; {_room(free, limit)}")


_DISK = "Free disk there, or lower disk_free_limit in rabbitmq.conf"
_MEMORY = "Give it more memory, or raise vm_memory_high_watermark in rabbitmq.conf"


def _room(free: object, limit: object) -> str:
    if isinstance(free, int) and isinstance(limit, int):
        return f"{size_text(free)} of disk free, the alarm comes at {size_text(limit)}"
    return "disk not known"


def _applies(policy: Mapping[str, Any], queue: str) -> bool:
    try:
        return re.search(str(policy.get("pattern", "")), queue) is not None and policy.get("apply-to") != "exchanges"
    except re.error:  # Erlang's expressions know more
        return False


def _policies(
    queue: str, policies: Sequence[Mapping[str, Any]], spec: JobSpec | None, version: tuple[int, ...]
) -> Iterator[Finding]:
    """Policies on a queue of ours that drop messages, or take them from a trainer too early."""
    for policy in policies:
        rules, name = policy.get("definition") or {}, str(policy.get("name"))[:60]
        dropping = [f"{key} {rules[key]}" for key in DROPPING if key in rules]
        if dropping:
            seen = f"{queue}: policy {name!r} drops messages ({', '.join(dropping)})"
            yield Finding("rabbitmq", "wrong", seen, "Give it a pattern that leaves out Warren's queues")
        held, needed = rules.get("consumer-timeout"), spec.deadline_seconds if spec is not None else 0.0
        if isinstance(held, int) and held / 1000 < needed and version >= TIMEOUT_POLICY_VERSION:
            seen = (
                f"{queue}: policy {name!r} has consumer-timeout {span(held / 1000)}, below the deadline {span(needed)}"
            )
            yield Finding("rabbitmq", "wrong", seen, f"Raise it to {span(2 * needed)} or more, or lower the deadline")
