"""Redis' ACL: users, their rights, and where they are kept."""

from __future__ import annotations

from ..storage.errors import StorageError, StorageRefused
from ..storage.ledger import connect
from ..storage.redis_link import RedisLink
from .context import Addresses
from .rights import Rights


class RedisAdmin:
    """Raises (each verb): StorageUnavailable; StorageRefused where this user may not use ACL."""

    def __init__(self, addresses: Addresses) -> None:
        self._link = RedisLink(connect(addresses.redis_with_tls))

    def set_account(self, name: str, password: str, rights: Rights) -> None:
        """Make the user, or give it another password, and exactly these rights."""
        self._link.command("ACL", "SETUSER", name, "reset", "on", f">{password}", "-@all", *rights.redis)

    def remove_account(self, name: str) -> None:
        """Drop the user; Redis ends its connections."""
        self._link.command("ACL", "DELUSER", name)

    def end_connections(self, name: str) -> None:
        self._link.command("CLIENT", "KILL", "USER", name)

    def accounts(self) -> set[str]:
        return {user.decode() if isinstance(user, bytes) else str(user) for user in self._link.command("ACL", "USERS")}

    def save(self) -> bool:
        """Write the accounts to the server's ACL file. False: it has none, and forgets them when it restarts."""
        try:
            self._link.command("ACL", "SAVE")
        except StorageRefused as error:
            if "not configured to use an ACL file" in str(error):
                return False
            raise
        except StorageError:
            raise
        return True
