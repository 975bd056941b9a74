"""The three servers with a site's own account: what it must be able to do, and nothing that it may not see anyway."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from urllib.parse import quote, unquote, urlsplit

from ..broker.topology import evaluations_queue, rounds_queue
from ..storage import keys, redis_link
from ..storage.job import JobSpec
from ..storage.keys import is_name
from ..storage.ledger import RedisLedger
from ..storage.ports import Presence
from ..storage.s3_requests import Requests
from .context import Addresses, without_secret
from .doctor_rabbit import doctors_broker, version_finding
from .doctor_redis import skew_findings
from .doctor_store import RETRY_SECONDS, clock_findings
from .findings import Finding
from .site_accounts import PREFIX
from .store_address import store_address

PRESENT_SECONDS = 0.01  # how long doctor looks like a trainer


def site_of(addresses: Addresses) -> str | None:
    """Whose account this is: the site's name, where RabbitMQ's user or the store's key is one of a site."""
    for user in (unquote(urlsplit(addresses.amqp).username or ""), addresses.access_key):
        if user.startswith(PREFIX) and is_name(user.removeprefix(PREFIX)):
            return user.removeprefix(PREFIX)
    return None


def site_rabbit_findings(addresses: Addresses, site: str) -> Iterator[Finding]:
    """Whether RabbitMQ takes the account, and the site's own queues are there. Raises BrokerError."""
    with contextlib.closing(doctors_broker(addresses)) as broker:
        begun = time.monotonic()
        facts = broker.server()
        yield version_finding(addresses, facts, time.monotonic() - begun)
        for queue in (rounds_queue(PREFIX + site), evaluations_queue(PREFIX + site)):
            depth = broker.depth(queue)
            if depth is None:
                change = f"Ask who runs the servers: `warren site add {site}` makes it"
                yield Finding("rabbitmq", "wrong", f"no queue {queue}", change)
            else:
                trainers = "no trainer takes from it" if not depth[1] else f"{depth[1]} trainers take from it"
                yield Finding("rabbitmq", "ok", f"{queue}: {depth[0]} round jobs wait, {trainers}")


def site_redis_findings(addresses: Addresses, site: str) -> Iterator[Finding]:
    """Whether Redis takes the account, and lets it say that a trainer is there. Raises StorageError."""
    client = redis_link.connect(addresses.redis_with_tls)
    begun = time.monotonic()
    seconds, _ = redis_link.RedisLink(client).command("TIME")
    took = 1000 * (time.monotonic() - begun)
    yield Finding("redis", "ok", f"answers at {without_secret(addresses.redis)} ({took:.0f} ms)")
    who = f"{PREFIX}{site}.doctor-{secrets.token_hex(4)}"
    RedisLedger(client).announce(Presence("trainer", who, {"source": PREFIX + site}), PRESENT_SECONDS)
    yield Finding("redis", "ok", "a trainer of this site may say that it is there")
    yield from skew_findings(int(seconds) - time.time())


def site_store_findings(addresses: Addresses, site: str) -> Iterator[Finding]:
    """Whether the store takes the keys, and shows the site its own updates. Raises StorageError."""
    requests = Requests(store_address(addresses), RETRY_SECONDS)
    prefix = keys.updates(f"doctor-{secrets.token_hex(4)}", 0, PREFIX + site)
    with contextlib.closing(requests):
        begun = time.monotonic()
        headers, _ = requests.ask_patiently("GET", "", query=f"list-type=2&max-keys=1&prefix={quote(prefix, safe='')}")
        took = 1000 * (time.monotonic() - begun)
        product = str(headers.get("server", "") or "a store")[:40]
        yield Finding("store", "ok", f"{product} at {addresses.s3}, bucket {addresses.bucket} ({took:.0f} ms)")
        yield Finding("store", "ok", f"the updates of site {site} may be listed")
        yield from clock_findings(headers)


def site_findings(site: str, spec: JobSpec | None) -> Iterator[Finding]:
    """What only others can see, and whether the job asks this site at all."""
    hidden = "queues of others, alarms, policies, create-once and who is there"
    change = "Nothing to do here: who runs the servers sees them with `warren doctor`"
    yield Finding("site", "note", f"this is the account of site {site}, which may not see {hidden}", change)
    if spec is not None and site not in spec.sites:
        asked = f"sites {', '.join(sorted(spec.sites)[:5])}" if spec.sites else f"pool {spec.pool}"
        yield Finding("site", "wrong", f"the job asks {asked}, not site {site}", f'Add "{site}" to its sites')
