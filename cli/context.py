"""Where the servers are: options, then `WARREN_…`, then the context file, then this machine.

Secrets come from files, the environment or a command, and are never shown: `Addresses` prints without them.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from .errors import UsageMistake
from .lazy import nearest

SECRET_COMMAND_SECONDS = 30.0  # a password manager may ask for a touch
SECRET_BYTES_MAX = 64 << 10
LOCAL = ("127.0.0.1", "localhost", "::1")
DEFAULTS = {
    "amqp": "amqp://guest:guest@127.0.0.1:5672/",
    "redis": "redis://127.0.0.1:6379/0",
    "s3": "http://127.0.0.1:9000",
    "s3_bucket": "warren",
}
SECRETS = ("amqp_password", "redis_password", "s3_access_key", "s3_secret_key")
TLS_FILES = ("ca_file", "cert_file", "key_file")
SETTINGS = (*DEFAULTS, *SECRETS, *TLS_FILES)
_SCHEMES = {"amqp": ("amqp", "amqps"), "redis": ("redis", "rediss"), "s3": ("http", "https")}


@dataclass(frozen=True, slots=True)
class Addresses:
    """The three servers, with credentials; its repr and `shown` leave the secrets out.

    `ca_file` holds the authorities to trust (PEM; None: the system's), `cert_file` and `key_file` a client's
    certificate: for all three servers, as far as their addresses say TLS.
    """

    amqp: str = field(repr=False)
    redis: str = field(repr=False)
    s3: str
    bucket: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @property
    def tls_files(self) -> tuple[Path | None, Path | None, Path | None]:
        return self.ca_file, self.cert_file, self.key_file

    @property
    def redis_with_tls(self) -> str:
        """The address of Redis with these files in it, as redis-py reads them; what it says itself counts."""
        parts = urlsplit(self.redis)
        if parts.scheme != "rediss":
            return self.redis
        named = {"ssl_ca_certs": self.ca_file, "ssl_certfile": self.cert_file, "ssl_keyfile": self.key_file}
        files = {name: str(path) for name, path in named.items() if path is not None}
        query = {"ssl_check_hostname": "true", **files, **dict(parse_qsl(parts.query))}
        return urlunsplit(parts._replace(query=urlencode(query)))

    def shown(self) -> dict[str, str]:
        """The addresses without any secret in them."""
        return {
            "amqp": without_secret(self.amqp),
            "redis": without_secret(self.redis),
            "s3": without_secret(self.s3),
            "bucket": self.bucket,
        }


def without_secret(url: str) -> str:
    """The URL with its password, if it has one, as `***`."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:***@{host}"))


def without_user(url: str) -> str:
    """The URL without user and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def contexts_path(environment: Mapping[str, str] = os.environ) -> Path:
    """The file with the named contexts."""
    if environment.get("WARREN_CONFIG"):
        return Path(environment["WARREN_CONFIG"])
    home = environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "warren" / "contexts.toml"


def read_contexts(path: Path) -> dict[str, Any]:
    """The context file: `current` and `[contexts.<name>]`; empty where there is none.

    Raises:
        UsageMistake: it can't be read, or is not TOML.
    """
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"contexts": {}}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageMistake(f"{path}: {error}. Mend or remove the file.") from None
    if not isinstance(fields.get("contexts", {}), dict):
        raise UsageMistake(f"{path}: contexts is not a table: write [contexts.NAME].")
    return {"contexts": {}, **fields}


def resolve(
    given: Mapping[str, str | None],
    environment: Mapping[str, str] = os.environ,
    path: Path | None = None,
    *,
    run_commands: bool = True,
) -> Addresses:
    """The addresses to use.

    Args:
        given: the options: context, amqp, redis, s3, s3_bucket; None where an option was not given.
        environment: `WARREN_AMQP`, …; each also as `…_FILE`, naming a file that holds it.
        path: the context file; None for the usual one.
        run_commands: whether secrets that a command gives are asked for; else they are empty.

    Raises:
        UsageMistake: no such context, a secret that can't be read, an address that is none.
    """
    path = path or contexts_path(environment)
    context = _context(given.get("context") or environment.get("WARREN_CONTEXT"), path)
    if not run_commands:
        context = {name: "" if "command" in _table(value) else value for name, value in context.items()}
    values = {name: _setting(name, given, environment, context) for name in SETTINGS}
    for name, schemes in _SCHEMES.items():
        _check_address(name, values[name] or "", schemes)
    access, secret = _store_keys(values)
    return Addresses(
        amqp=with_password(values["amqp"] or "", values["amqp_password"]),
        redis=with_password(values["redis"] or "", values["redis_password"]),
        s3=(values["s3"] or "").rstrip("/"),
        bucket=values["s3_bucket"] or "",
        access_key=access,
        secret_key=secret,
        **{name: Path(file).expanduser() if (file := values[name]) else None for name in TLS_FILES},
    )


def _context(name: str | None, path: Path) -> dict[str, Any]:
    fields = read_contexts(path)
    name = name or fields.get("current")
    if name is None:
        return {}
    contexts: dict[str, Any] = fields["contexts"]
    if name not in contexts:
        raise UsageMistake(f"no context {name!r} in {path}{nearest(name, contexts)} `warren context list` names them.")
    for key in contexts[name]:
        if key not in SETTINGS:
            raise UsageMistake(f"{path}: contexts.{name}.{key}: no such setting{nearest(key, SETTINGS)}")
    return dict(contexts[name])


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _setting(
    name: str, given: Mapping[str, str | None], environment: Mapping[str, str], context: Mapping[str, Any]
) -> str | None:
    variable = f"WARREN_{name.upper()}"
    if given.get(name):
        return given[name]
    if environment.get(variable):
        return environment[variable]
    if environment.get(f"{variable}_FILE"):
        return _from_file(Path(environment[f"{variable}_FILE"]), f"{variable}_FILE")
    if name in context:
        return _from_context(name, context[name], environment)
    return DEFAULTS.get(name)


def _from_context(name: str, value: Any, environment: Mapping[str, str]) -> str:
    if isinstance(value, str):
        if value and name in ("amqp_password", "redis_password", "s3_secret_key"):
            raise UsageMistake(
                f'{name} stands open in the context file. Write {name} = {{ file = "…" }}, '
                '{ env = "…" } or { command = "…" }.'
            )
        return value
    if isinstance(value, dict) and len(value) == 1:
        how, what = next(iter(value.items()))
        if how == "file":
            return _from_file(Path(str(what)).expanduser(), name)
        if how == "env":
            if str(what) not in environment:
                raise UsageMistake(f"{name}: the environment has no {what}, which the context names.")
            return environment[str(what)]
        if how == "command":
            return _from_command(str(what), name)
    raise UsageMistake(f'{name} in the context file is none of "…", {{ file = … }}, {{ env = … }}, {{ command = … }}.')


def _from_file(path: Path, name: str) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(SECRET_BYTES_MAX).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise UsageMistake(f"{name}: can't read {path}: {reason}.") from None


def _from_command(command: str, name: str) -> str:
    try:
        done = subprocess.run(  # the user's own command, from the user's own file
            shlex.split(command), capture_output=True, text=True, timeout=SECRET_COMMAND_SECONDS, check=False
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise UsageMistake(f"{name}: the command of the context did not run: {type(error).__name__}.") from None
    if done.returncode != 0:
        raise UsageMistake(f"{name}: the command of the context ended with {done.returncode}.")
    return done.stdout.strip()


def _check_address(name: str, url: str, schemes: tuple[str, ...]) -> None:
    parts = urlsplit(url)
    try:
        whole = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        whole = False
    if not whole:
        hint = f"{schemes[0]}://host" + {"amqp": ":5672/", "redis": ":6379/0", "s3": ":9000"}[name]
        raise UsageMistake(f"{name}: {without_secret(url)[:120]!r} is not an address such as {hint!r}.")


def with_password(url: str, password: str | None) -> str:
    if password is None:
        return url
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user = quote(parts.username or "", safe="%")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))


def _store_keys(values: Mapping[str, str | None]) -> tuple[str, str]:
    access, secret = values["s3_access_key"], values["s3_secret_key"]
    if access and secret:
        return access, secret
    if not access and not secret and urlsplit(values["s3"] or "").hostname in LOCAL:
        return "minioadmin", "minioadmin"  # MinIO's own, where nobody chose others
    missing = "WARREN_S3_SECRET_KEY" if access else "WARREN_S3_ACCESS_KEY"
    raise UsageMistake(f"no credentials for the object store: set {missing} (or {missing}_FILE), or use a context.")
