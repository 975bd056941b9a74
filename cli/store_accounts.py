"""The store's accounts of an installation: MinIO reads none from a file, so they are made once it runs."""

from __future__ import annotations

from pathlib import Path

from .admin_store import StoreAdmin
from .context import Addresses
from .credentials_made import ROLES, account, read_secrets, rights_of


def make_store_accounts(addresses: Addresses, path: Path) -> list[str]:
    """Make or renew the account of each role; their names. Raises StorageError, CliError."""
    words = read_secrets(path)
    admin = StoreAdmin(addresses)
    made = []
    for role in ROLES:
        rights = rights_of(role, addresses.bucket)
        if rights is not None:
            admin.set_account(account(role), words[role], rights)
            made.append(account(role))
    return made
