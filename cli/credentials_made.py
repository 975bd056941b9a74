"""Makes the credentials of a whole installation: random, once, each reader's files in a folder of its own."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from .context import with_password
from .errors import CliError
from .rights import Rights, of_aggregator, of_operator, of_pool_trainers

ROLES = ("admin", "aggregator", "trainer", "cli")
FOLDERS = (*ROLES, "rabbitmq", "redis", "minio")
SECRET_BYTES = 24
MASTER = "secrets.json"


@dataclass(frozen=True, slots=True)
class Places:
    """Where the accounts will be used: addresses without a user, and the bucket."""

    amqp: str
    redis: str
    bucket: str


def rights_of(role: str, bucket: str) -> Rights | None:
    """What the role's account may do; None for the administrator's, which may do all."""
    known = {"aggregator": of_aggregator, "trainer": of_pool_trainers, "cli": of_operator}
    return known[role](bucket) if role in known else None


def make_credentials(root: Path, places: Places) -> int:
    """Write what is missing below `root`, nothing twice: how many files this call made.

    Raises:
        CliError: files of others are there and the administrator's are not, or nothing can be written.
    """
    try:
        words = _master(root)
        files = _files(words, places)
        if os.access(root / "grafana", os.W_OK):  # mounted with deploy/compose.observability.yml only
            files["grafana/grafana"] = words["grafana"]
        return sum(_create(root / name, text) for name, text in files.items())
    except OSError as error:
        raise CliError(f"can't write credentials to {root}: {error.strerror}") from None


def read_secrets(path: Path) -> dict[str, str]:
    """The secret of each role's account. Raises CliError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise CliError(f"{path}: can't be read as the installation's secrets.") from None
    if not isinstance(found, dict) or not all(isinstance(found.get(role), str) for role in ROLES):
        raise CliError(f"{path}: does not hold the secrets of {', '.join(ROLES)}.")
    return found


def account(role: str) -> str:
    """The name of a role's account, the same on all three servers."""
    return f"warren-{role}"


def _master(root: Path) -> dict[str, str]:
    path = root / "admin" / MASTER
    if not path.exists():
        others = [name for name in FOLDERS if name != "admin" and any((root / name).glob("*"))]
        if others:
            raise CliError(
                f"{root}: {', '.join(others)} hold credentials and {path} is gone. Restore it, or start anew "
                "with empty volumes."
            )
        words = {role: secrets.token_urlsafe(SECRET_BYTES) for role in (*ROLES, "health", "grafana")}
        _create(path, json.dumps(words))
    return read_secrets(path)


def _files(words: Mapping[str, str], places: Places) -> dict[str, str]:
    """Every file's text, by its path below the root."""
    files = {
        "rabbitmq/definitions.json": json.dumps(_definitions(words, places)),
        "redis/users.acl": _redis_users(words, places.bucket),
        "redis/health": words["health"],
        "minio/root_user": account("admin"),
        "minio/root_password": words["admin"],
    }
    for role in ROLES:
        files[f"{role}/amqp"] = _address(places.amqp, role, words)
        files[f"{role}/redis"] = _address(places.redis, role, words)
        files[f"{role}/s3_access_key"] = account(role)
        files[f"{role}/s3_secret_key"] = words[role]
    return files


def _address(url: str, role: str, words: Mapping[str, str]) -> str:
    scheme, _, rest = url.partition("://")
    return with_password(f"{scheme}://{account(role)}@{rest}", words[role])


def _definitions(words: Mapping[str, str], places: Places) -> dict[str, Any]:
    """RabbitMQ's own format, loaded at its start: it then makes no guest."""
    host = urlsplit(places.amqp).path.strip("/") or "/"
    users, permissions = [], []
    for role in ROLES:
        rights = rights_of(role, places.bucket)
        tags = "administrator" if rights is None else rights.tags
        users.append({"name": account(role), "password_hash": _hash(words[role]), "tags": tags.split()})
        allowed = (".*",) * 3 if rights is None else (rights.configure, rights.write, rights.read)
        named = dict(zip(("configure", "write", "read"), allowed, strict=True))
        permissions.append({"user": account(role), "vhost": host, **named})
    algorithm = "rabbit_password_hashing_sha256"
    return {
        "users": [{**user, "hashing_algorithm": algorithm} for user in users],
        "vhosts": [{"name": host}],
        "permissions": permissions,
    }


def _hash(password: str) -> str:
    salt = os.urandom(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _redis_users(words: Mapping[str, str], bucket: str) -> str:
    lines = ["user default off", _redis_user("warren-health", words["health"], ("-@all", "+ping"))]
    for role in ROLES:
        rights = rights_of(role, bucket)
        rules = ("+@all", "~*", "&*") if rights is None else ("-@all", *rights.redis)
        lines.append(_redis_user(account(role), words[role], rules))
    return "\n".join(lines) + "\n"


def _redis_user(name: str, password: str, rules: tuple[str, ...]) -> str:
    digest = hashlib.sha256(password.encode()).hexdigest()
    return f"user {name} on #{digest} resetchannels {' '.join(rules)}"


def _create(path: Path, text: str) -> bool:
    """Create-once, whole or not at all. Readable by all who see the folder: each is mounted where it is needed only."""
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    temporary.write_text(text, encoding="utf-8")
    temporary.chmod(0o666 if path.suffix == ".acl" else 0o444)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    if path.suffix == ".acl":
        path.parent.chmod(0o777)  # Redis, a user of its own, writes the accounts of sites there (ACL SAVE)
    return True
