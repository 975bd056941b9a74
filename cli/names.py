"""Names of services and of where they take from, as an option says them or as this machine gives them."""

from __future__ import annotations

import re
import secrets
import socket

from ..storage.keys import is_name
from .errors import UsageMistake


def source_of(pool: str | None, site: str | None) -> str:
    """`site.<name>` or `pool.<name>`. Raises UsageMistake for both, or for what is no name."""
    if pool and site:
        raise UsageMistake("--pool and --site: a trainer takes from one of them.")
    name = site or pool or "default"
    if not is_name(name):
        raise UsageMistake(f"{name!r} is no name: a-z, 0-9 and '-', at most 63.")
    return f"site.{name}" if site else f"pool.{name}"


def service_name(given: str | None) -> str:
    """The given name (an option; None where there was none), or one made from this machine's and chance."""
    if given is not None:
        if not is_name(given):
            raise UsageMistake(f"--name {given!r} is no name: a-z, 0-9 and '-', at most 63.")
        return given
    host = re.sub(r"[^a-z0-9]+", "-", socket.gethostname().lower()).strip("-") or "host"
    return f"{host[:58]}-{secrets.token_hex(2)}"
