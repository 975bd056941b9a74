"""Prints the logins of the consoles."""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

from .context import Addresses
from .tables import print_table


def print_logins(addresses: Addresses) -> None:
    """User and password of RabbitMQ's page and of the store's console, and where they are."""
    parts = urlsplit(addresses.amqp)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    rabbit = os.environ.get("WARREN_RABBITMQ_CONSOLE") or f"http://{parts.hostname}:15672"
    store = os.environ.get("WARREN_S3_CONSOLE") or f"http://{urlsplit(addresses.s3).hostname}:9001"
    rows = [["MinIO", store, addresses.access_key, addresses.secret_key], ["RabbitMQ", rabbit, user, password]]
    print_table(["console", "address", "user", "password"], rows)
