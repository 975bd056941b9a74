"""A site's accounts on the three servers: made, renewed, taken away, listed."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from ..broker.topology import evaluations_queue, rounds_queue
from ..storage.keys import is_name
from .admin_rabbit import RabbitAdmin
from .admin_redis import RedisAdmin
from .admin_store import StoreAdmin
from .connect import open_broker
from .context import Addresses
from .errors import CliError, UsageMistake
from .rights import of_site

PREFIX = "site."
SECRET_BYTES = 24


@dataclass(frozen=True, slots=True)
class Seen:
    """Where a site finds the servers: addresses without a user, as they are from outside."""

    amqp: str
    redis: str
    s3: str


@dataclass(frozen=True, slots=True)
class Standing:
    """One site: on which of the servers it has an account."""

    site: str
    rabbitmq: bool
    redis: bool
    store: bool


class SiteAccounts:
    """Needs the administrators' accounts. Raises (each verb): BrokerError, StorageError, CliError."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._rabbit = RabbitAdmin(addresses)
        self._redis = RedisAdmin(addresses)
        self._store = StoreAdmin(addresses)

    def add(self, site: str, seen: Seen) -> str:
        """Make the site's queues and accounts; its bundle. Half of one, left by a failure, is made whole."""
        if all(self._has(site)):
            raise CliError(f"site {site} is there. `warren site rotate {site}` makes new credentials for it.")
        return self._make(site, seen)

    def rotate(self, site: str, seen: Seen) -> str:
        """New credentials for a site; the old ones end at once, with the connections made with them."""
        if not any(self._has(site)):
            raise CliError(f"no site {site}. `warren site add {site}` makes it.")
        bundle = self._make(site, seen)
        self._rabbit.end_connections(PREFIX + site)
        self._redis.end_connections(PREFIX + site)
        return bundle

    def revoke(self, site: str) -> None:
        """Take all accounts of the site away. Its queues stay: a job may wait for it to come back."""
        if not any(self._has(site)):
            raise CliError(f"no site {site}. `warren site list` names them.")
        name = PREFIX + site
        self._rabbit.remove_account(name)
        self._rabbit.end_connections(name)
        self._redis.remove_account(name)
        self._redis.save()
        self._store.remove_account(name)

    def standings(self) -> list[Standing]:
        """Every site that has an account anywhere."""
        found = [self._rabbit.accounts(), self._redis.accounts(), self._store.accounts()]
        names = sorted(name for name in set().union(*found) if name.startswith(PREFIX))
        return [Standing(name.removeprefix(PREFIX), *(name in there for there in found)) for name in names]

    def _has(self, site: str) -> list[bool]:
        if not is_name(site):
            raise UsageMistake(f"{site!r} is no name for a site: a-z, 0-9 and '-', at most 63.")
        return [PREFIX + site in admin.accounts() for admin in (self._rabbit, self._redis, self._store)]

    def _make(self, site: str, seen: Seen) -> str:
        name, rights = PREFIX + site, of_site(site, self._addresses.bucket)
        words = {server: secrets.token_urlsafe(SECRET_BYTES) for server in ("amqp", "redis", "s3")}
        self._declare(site)
        self._store.set_account(name, words["s3"], rights)
        self._redis.set_account(name, words["redis"], rights)
        kept = self._redis.save()
        self._rabbit.set_account(name, words["amqp"], rights)
        note = (
            ""
            if kept
            else "# This Redis has no ACL file: it forgets the account when it restarts (aclfile in its settings).\n"
        )
        return note + _bundle(site, seen, self._addresses.bucket, words)

    def _declare(self, site: str) -> None:
        """The queues are made here: the site may not."""
        source = PREFIX + site
        broker = open_broker(self._addresses, "warren site")
        try:
            broker.declare([rounds_queue(source), evaluations_queue(source)])
        finally:
            broker.close()


def _bundle(site: str, seen: Seen, bucket: str, words: Mapping[str, str]) -> str:
    """The `.env` of deploy/site."""
    lines = {
        "WARREN_SITE": site,
        "WARREN_AMQP": _with_user(seen.amqp, site, words["amqp"]),
        "WARREN_REDIS": _with_user(seen.redis, site, words["redis"]),
        "WARREN_S3": seen.s3,
        "WARREN_S3_BUCKET": bucket,
        "WARREN_S3_ACCESS_KEY": PREFIX + site,
        "WARREN_S3_SECRET_KEY": words["s3"],
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def _with_user(url: str, site: str, password: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{quote(PREFIX + site)}:{quote(password, safe='')}@{rest.rpartition('@')[2]}"
