"""A context from the compose installation of this folder: its secrets in files of this user's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from .context import contexts_path, without_user
from .errors import CliError

SECONDS = 60.0
_FILES = ("amqp", "redis", "s3_access_key", "s3_secret_key")


def from_compose(name: str) -> dict[str, str]:
    """The settings of a context for this machine's side of the published ports.

    Raises:
        CliError: there is no Docker, or no such installation in this folder.
    """
    amqp, redis, access, secret = (_credential(file) for file in _FILES)
    folder = contexts_path().parent / name
    passwords = {"amqp": urlsplit(amqp).password, "redis": urlsplit(redis).password, "s3": secret}
    for what, password in passwords.items():
        _keep(folder / what, unquote(password or ""))
    return {
        "amqp": _here(amqp, "rabbitmq", 5672),
        "amqp_password": f"file:{folder / 'amqp'}",
        "redis": _here(redis, "redis", 6379),
        "redis_password": f"file:{folder / 'redis'}",
        "s3": f"http://{_published('minio', 9000)}",
        "s3_access_key": access,
        "s3_secret_key": f"file:{folder / 's3'}",
    }


def _credential(file: str) -> str:
    return _compose("run", "--rm", "--no-deps", "-T", "--entrypoint", "cat", "cli", f"/credentials/cli/{file}")


def _here(url: str, service: str, port: int) -> str:
    """The address with this machine's side of the port, and the user without the password."""
    parts = urlsplit(url)
    return urlunsplit(urlsplit(without_user(url))._replace(netloc=f"{parts.username}@{_published(service, port)}"))


def _published(service: str, port: int) -> str:
    where = _compose("port", service, str(port))
    return where.replace("0.0.0.0", "127.0.0.1")


def _compose(*words: str) -> str:
    command = ["docker", "compose", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CliError(f"docker compose did not run: {type(error).__name__}.") from None
    if done.returncode or not done.stdout.strip():
        said = done.stderr.strip().splitlines()[-1:] or ["no answer"]
        raise CliError(f"docker compose {words[0]}: {said[0]}. Is it up, and this the folder of docker-compose.yml?")
    return done.stdout.strip()


def _keep(path: Path, secret: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(secret)
    except OSError as error:
        raise CliError(f"can't write {path}: {error.strerror}") from None
