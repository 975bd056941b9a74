"""What each kind of account may do on the three servers: the table of docs/security.md, as the servers read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NOTHING = "^$"
_QUEUES = r"submissions\.v1|rounds\.dead|dead-letters|(rounds|evaluations)\.v1\..*"
_FROZEN = ("task", "control", "plans", "rounds", "checkpoints", "evaluations")
_READ_BY_TRAINERS = ("job.json", "task/*", "control/*", "rounds/*", "checkpoints/*", "evaluations/*")
_CONNECTING = ("+ping", "+time", "+select")


@dataclass(frozen=True, slots=True)
class Rights:
    """One account's rights.

    Attributes:
        configure, write, read: RabbitMQ's three, regular expressions over the names of queues and exchanges.
        redis: rules of a Redis ACL: commands, and the keys they may touch.
        s3: the statements of a policy, as S3 has them.
        tags: RabbitMQ's, for its management page.
    """

    configure: str
    write: str
    read: str
    redis: tuple[str, ...]
    s3: tuple[Mapping[str, Any], ...]
    tags: str = ""

    @property
    def policy(self) -> dict[str, Any]:
        return {"Version": "2012-10-17", "Statement": [dict(one) for one in self.s3]}


def of_site(site: str, bucket: str) -> Rights:
    """A site's trainers: their own queues, stream, presence, updates and client state; all jobs' models to read."""
    return _of_trainer("site", site, bucket, clients=site, presence=f"site.{site}.*")


def of_pool_trainers(bucket: str) -> Rights:
    """The trainers of all pools, which are one party."""
    return _of_trainer("pool", "*", bucket, clients="*", presence="*")


def of_aggregator(bucket: str) -> Rights:
    """Everything of Warren's, and nothing of the servers themselves."""
    redis = (*_CONNECTING, "+@read", "+@write", "+@scripting", "-@dangerous", "-@admin")
    keys = ("~warren:*", "~completions:*", "~control:*")
    return Rights(
        configure=f"^({_QUEUES})$",
        write=rf"^(amq\.default|{_QUEUES})$",
        read=f"^({_QUEUES})$",
        redis=(*redis, *keys),
        s3=_whole_bucket(bucket),
    )


def of_operator(bucket: str) -> Rights:
    """The command and the consoles: submits, commands, looks at everything, removes jobs."""
    dead = r"submissions\.v1|rounds\.dead|dead-letters"
    redis = (*_CONNECTING, "+@read", "+xadd", "+expire", "+unlink", "-@dangerous", "-@admin")
    keys = ("~control:*", "~warren:*", "~completions:*")
    statements = (_allow(["s3:ListAllMyBuckets", "s3:GetBucketLocation"], ["arn:aws:s3:::*"]), *_whole_bucket(bucket))
    return Rights(
        configure=f"^({dead})$",
        write=rf"^(amq\.default|{dead})$",
        read=f"^({dead})$",
        redis=(*redis, *keys),
        s3=statements,
        tags="monitoring",
    )


def _of_trainer(kind: str, name: str, bucket: str, *, clients: str, presence: str) -> Rights:
    # Writing to no exchange: a right on the default one would reach every queue, other sites' too.
    named = ".*" if name == "*" else name
    redis = (*_CONNECTING, "+xadd", "+expire", "+get", "+hgetall", "+set")
    keys = (f"%W~completions:*:{kind}.{name}", "%R~warren:progress:*", f"%W~warren:presence:trainer:{presence}")
    return Rights(
        configure=NOTHING,
        write=NOTHING,
        read=rf"^(rounds|evaluations)\.v1\.{kind}\.{named}$",
        redis=(*redis, *keys),
        s3=_trainer_statements(bucket, f"{kind}.{name}", clients),
    )


def _trainer_statements(bucket: str, source: str, clients: str) -> tuple[Mapping[str, Any], ...]:
    updates, state = f"updates/*/{source}/*", f"jobs/*/clients/{clients}/*"
    lists = {"StringLike": {"s3:prefix": [updates]}}
    return (
        _allow(["s3:GetObject"], _objects(bucket, [f"jobs/*/{what}" for what in _READ_BY_TRAINERS])),
        _allow(["s3:GetObject", "s3:PutObject"], _objects(bucket, [updates, state])),
        {**_allow(["s3:ListBucket"], [f"arn:aws:s3:::{bucket}"]), "Condition": lists},
        # A policy's * crosses slashes: without this, jobs/J/control/clients/<its name>/x would be the client's state.
        {**_allow(["s3:PutObject"], _objects(bucket, [f"jobs/*/{what}/*" for what in _FROZEN])), "Effect": "Deny"},
    )


def _whole_bucket(bucket: str) -> tuple[Mapping[str, Any], ...]:
    objects = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:GetObjectTagging", "s3:PutObjectTagging"]
    uploads = ["s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    whole = ["s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads"]
    return (
        _allow([*objects, *uploads], _objects(bucket, ["*"])),
        _allow(whole, [f"arn:aws:s3:::{bucket}"]),
    )


def _allow(actions: Sequence[str], resources: Sequence[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": list(resources)}


def _objects(bucket: str, keys: Sequence[str]) -> list[str]:
    return [f"arn:aws:s3:::{bucket}/{key}" for key in keys]
