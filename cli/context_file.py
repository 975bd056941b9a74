"""Reading and changing the file with the named contexts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import click

from ..storage.keys import is_name
from .context import contexts_path, read_contexts, without_secret
from .errors import UsageMistake
from .lazy import nearest
from .tables import print_table
from .toml_text import write_toml

_SECRET = ("amqp_password", "redis_password", "s3_secret_key")


def print_contexts(*, as_json: bool) -> None:
    """The contexts, without secrets."""
    fields = read_contexts(contexts_path())
    rows = [_row(name, settings, fields.get("current")) for name, settings in fields["contexts"].items()]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
    elif rows:
        header = ["current", "name", "amqp", "redis", "s3"]
        print_table(header, [["*" if row["current"] else "", *(str(row[key]) for key in header[1:])] for row in rows])
    else:
        click.echo(
            "no contexts: commands use WARREN_… or this machine's servers. `warren context add` makes one.",
            err=True,
        )


def _row(name: str, settings: Mapping[str, Any], current: str | None) -> dict[str, object]:
    shown = {key: without_secret(str(settings.get(key, ""))) for key in ("amqp", "redis", "s3")}
    return {"current": name == current, "name": name, **shown}


def use_context(name: str) -> None:
    """Make this context the current one. Raises UsageMistake."""
    path = contexts_path()
    fields = read_contexts(path)
    if name not in fields["contexts"]:
        raise UsageMistake(f"no context {name!r}{nearest(name, fields['contexts'])} `warren context list` names them.")
    _write(path, {**fields, "current": name})


def add_context(name: str, given: Mapping[str, str | None]) -> Path:
    """Add or change a context; the first one is used at once. Raises UsageMistake."""
    if not is_name(name):
        raise UsageMistake(f"{name!r} is no name for a context: a-z, 0-9 and '-'.")
    path = contexts_path()
    fields = read_contexts(path)
    settings = {key: _setting(key, value) for key, value in given.items() if value is not None}
    contexts = {**fields["contexts"], name: {**fields["contexts"].get(name, {}), **settings}}
    _write(path, {"current": name, **fields, "contexts": contexts})
    return path


def _setting(key: str, value: str) -> Any:
    if key not in _SECRET:
        if urlsplit(value).password:
            apart = "--s3-access-key KEY --s3-secret-key" if key == "s3" else f"--{key}-password"
            raise UsageMistake(f"{key}: the address holds a password. Give it apart: {apart} file:PATH.")
        return value
    how, colon, what = value.partition(":")
    if not colon or how not in ("file", "env", "command"):
        raise UsageMistake(f"--{key.replace('_', '-')}: say where it is: file:PATH, env:NAME or command:LINE.")
    return {how: what}


def _write(path: Path, fields: Mapping[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(write_toml(fields))
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageMistake(f"can't write {path}: {error.strerror}") from None
