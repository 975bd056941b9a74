"""RabbitMQ's management API: users, their rights, and the end of their connections."""

from __future__ import annotations

import json
import os
import ssl
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from ..broker.errors import BrokerRefused, BrokerUnavailable
from .context import Addresses
from .rights import Rights

SECONDS = urllib3.Timeout(connect=5.0, read=30.0)
ANSWER_BYTES_MAX = 16 << 20
API_VARIABLE = "WARREN_RABBITMQ_API"


class RabbitAdmin:
    """Accounts of one virtual host. Raises (each verb): BrokerUnavailable, BrokerRefused."""

    def __init__(self, addresses: Addresses) -> None:
        """The user and the virtual host are those of the AMQP address; the page's is its host's usual port."""
        parts = urlsplit(addresses.amqp)
        secure = parts.scheme == "amqps"
        usual = f"{'https' if secure else 'http'}://{parts.hostname}:{15671 if secure else 15672}"
        self.url = os.environ.get(API_VARIABLE, usual).rstrip("/")
        user = f"{unquote(parts.username or 'guest')}:{unquote(parts.password or 'guest')}"
        self._headers = {**urllib3.make_headers(basic_auth=user), "content-type": "application/json"}
        self._host = quote(unquote(parts.path[1:]) or "/", safe="")
        tls = ssl.create_default_context(cafile=addresses.ca_file) if addresses.ca_file else None
        self._pool = urllib3.PoolManager(retries=False, timeout=SECONDS, ssl_context=tls)

    def set_account(self, name: str, password: str, rights: Rights) -> None:
        """Make the user, or give it another password, and exactly these rights."""
        user = quote(name, safe="")
        self._ask("PUT", f"users/{user}", {"password": password, "tags": rights.tags})
        allowed = {"configure": rights.configure, "write": rights.write, "read": rights.read}
        self._ask("PUT", f"permissions/{self._host}/{user}", allowed)

    def remove_account(self, name: str) -> None:
        self._ask("DELETE", f"users/{quote(name, safe='')}", missing=True)

    def end_connections(self, name: str) -> None:
        """Close what the user has open: a changed password alone lets it go on."""
        for connection in self._ask("GET", "connections") or ():
            if connection.get("user") == name:
                self._ask("DELETE", f"connections/{quote(str(connection.get('name')), safe='')}", missing=True)

    def accounts(self) -> set[str]:
        return {str(user.get("name")) for user in self._ask("GET", "users") or ()}

    def get(self, path: str) -> Any:
        """What the API answers to a question, such as `nodes`."""
        return self._ask("GET", path)

    def _ask(self, method: str, path: str, body: dict[str, str] | None = None, *, missing: bool = False) -> Any:
        try:
            answer = self._pool.request(
                method,
                f"{self.url}/api/{path}",
                headers=self._headers,
                body=None if body is None else json.dumps(body).encode(),
                preload_content=False,
            )
            text = answer.read(ANSWER_BYTES_MAX)
            answer.release_conn()
        except (HTTPError, OSError) as error:
            why = f"{self.url} does not answer ({type(error).__name__}). Its address: {API_VARIABLE}"
            raise BrokerUnavailable(f"RabbitMQ's management API at {why}") from None
        if answer.status == 404 and missing:
            return None
        if answer.status >= 300:
            who = (
                "needs an account tagged administrator"
                if answer.status in (401, 403)
                else text[:200].decode("ascii", "replace")
            )
            raise BrokerRefused(f"RabbitMQ's management API at {self.url} answers {answer.status}: {who}")
        try:
            return json.loads(text) if text else None
        except ValueError:
            raise BrokerRefused(f"{self.url} does not answer as RabbitMQ's management API does") from None
