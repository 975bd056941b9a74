"""Looks at all three servers, and at what one job needs of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from .. import __version__
from ..broker.errors import BrokerError, BrokerUnavailable
from ..storage import ledger as redis_ledger
from ..storage.errors import StorageError, StorageUnavailable
from ..storage.job import JobSpec
from ..storage.ledger import RedisLedger
from ..storage.ports import Ledger
from .context import Addresses, resolve
from .doctor_rabbit import rabbit_findings
from .doctor_redis import redis_findings
from .doctor_site import site_findings, site_of, site_rabbit_findings, site_redis_findings, site_store_findings
from .doctor_store import store_findings
from .findings import Finding, exit_code, show
from .jobfile import span
from .options import Given
from .status import missing_services
from .submission import held_seconds, resolve_words


def examine(given: Given, job: str | None, settings: Sequence[str], *, as_json: bool) -> int:
    """Print every finding. Returns the exit code. Raises UsageMistake, SpecInvalid."""
    spec = resolve_words(job, settings, ())[0] if job is not None else None
    addresses = resolve(given)
    site = site_of(addresses)
    findings = _as_site(addresses, spec, site) if site else _as_anybody(addresses, spec)
    if spec is not None:
        findings += job_findings(spec)
    show(findings, as_json=as_json)
    return exit_code(findings)


def _as_anybody(addresses: Addresses, spec: JobSpec | None) -> list[Finding]:
    findings = [
        *_reached("rabbitmq", lambda: rabbit_findings(addresses, spec)),
        *_reached("redis", lambda: redis_findings(addresses)),
        *_reached("store", lambda: store_findings(addresses)),
    ]
    if not any(finding.server == "redis" and finding.level == "unreachable" for finding in findings):
        findings += _reached("services", lambda: service_findings(_ledger(addresses), spec))
    return findings


def _as_site(addresses: Addresses, spec: JobSpec | None, site: str) -> list[Finding]:
    return [
        *_reached("rabbitmq", lambda: site_rabbit_findings(addresses, site)),
        *_reached("redis", lambda: site_redis_findings(addresses, site)),
        *_reached("store", lambda: site_store_findings(addresses, site)),
        *site_findings(site, spec),
    ]


def _ledger(addresses: Addresses) -> Ledger:
    return RedisLedger(redis_ledger.connect(addresses.redis_with_tls))


def _reached(server: str, look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """What the look finds; where it ends in an error, that is the last finding."""
    found: list[Finding] = []
    try:
        found.extend(look())
    except (BrokerUnavailable, StorageUnavailable) as error:
        found.append(Finding(server, "unreachable", str(error), _ADDRESS[server]))
    except (BrokerError, StorageError) as error:
        found.append(Finding(server, "unreachable", str(error), _CREDENTIALS[server]))
    return found


_ADDRESS = {
    "rabbitmq": "Start it, or mend its address: --amqp, WARREN_AMQP or the context.",
    "redis": "Start it, or mend its address: --redis, WARREN_REDIS or the context.",
    "store": "Start it, or mend its address: --s3, WARREN_S3 or the context.",
    "services": "",
}
_CREDENTIALS = {
    "rabbitmq": "Mend user, password or virtual host: WARREN_AMQP, WARREN_AMQP_PASSWORD or the context.",
    "redis": "Mend user or password: WARREN_REDIS, WARREN_REDIS_PASSWORD or the context.",
    "store": "Mend the keys: WARREN_S3_ACCESS_KEY, WARREN_S3_SECRET_KEY or the context; a bucket that is not there is "
    "made by `warren setup`.",
    "services": "",
}


def service_findings(ledger: Ledger, spec: JobSpec | None) -> Iterator[Finding]:
    """Who is there to lead and to train, for the job where there is one."""
    aggregators, trainers = ledger.presences("aggregator"), ledger.presences("trainer")
    missing: tuple[str, ...] = ()
    if spec is not None:
        trainers = [one for one in trainers if one.fields.get("source") in spec.sources]
        missing = missing_services(spec, trainers, aggregators)
    elif not aggregators:
        yield Finding("services", "note", "no aggregator is there", "Start one with `warren aggregator start`")
    for words in missing:
        what, _, change = words.partition(": ")
        yield Finding("services", "wrong", what, change[:1].upper() + change[1:])
    if not missing:
        there = f"{len(aggregators)} aggregators and {len(trainers)} trainers are there"
        yield Finding("services", "ok", there + (" for this job" if spec else ""))
    others = sorted({one.fields.get("version", "?") for one in [*aggregators, *trainers]} - {__version__})
    if others:
        named = ", ".join(one.id for one in [*aggregators, *trainers] if one.fields.get("version") != __version__)
        yield Finding(
            "services", "note", f"{named[:200]} run Warren {', '.join(others)}, and this is {__version__}",
            "Bring all to one version; a version understands the messages of the one before it",
        )  # fmt: skip


def job_findings(spec: JobSpec) -> Iterator[Finding]:
    """Whether its deadlines fit under the time that RabbitMQ lets a round job be held."""
    limit = held_seconds()
    longest = max(spec.deadline_seconds, spec.evaluate.deadline_seconds)
    if longest > limit:
        seen = f"deadline {span(longest)} is longer than RabbitMQ lets a round job be held ({span(limit)})"
        yield Finding(
            "job", "wrong", seen,
            "Lower it; or raise consumer_timeout in rabbitmq.conf (in milliseconds), and say so here: "
            f"WARREN_CONSUMER_TIMEOUT={span(2 * longest)}",
        )  # fmt: skip
        return
    yield Finding(
        "job", "ok", f"deadline {span(longest)} fits into consumer_timeout, taken to be {span(limit)}"
    )  # fmt: skip
