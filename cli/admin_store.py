"""MinIO's admin API: users, and a policy for each."""

from __future__ import annotations

import json
import ssl
from urllib.parse import urlsplit

import urllib3
from minio import MinioAdmin
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException, MinioException
from urllib3.exceptions import HTTPError

from ..storage.errors import StorageRefused, StorageUnavailable
from .context import Addresses
from .rights import Rights

SECONDS = urllib3.Timeout(connect=5.0, read=30.0)
_MISSING = ("XMinioAdminNoSuchUser", "XMinioAdminNoSuchPolicy")


class StoreAdmin:
    """Raises (each verb): StorageUnavailable, StorageRefused."""

    def __init__(self, addresses: Addresses) -> None:
        parts = urlsplit(addresses.s3)
        self.url = addresses.s3
        tls = ssl.create_default_context(cafile=addresses.ca_file) if addresses.ca_file else None
        retries = urllib3.Retry(5, backoff_factor=0.2, status_forcelist=[503], respect_retry_after_header=False)
        self._admin = MinioAdmin(
            endpoint=parts.netloc,
            credentials=StaticProvider(addresses.access_key, addresses.secret_key),
            secure=parts.scheme == "https",
            http_client=urllib3.PoolManager(timeout=SECONDS, retries=retries, ssl_context=tls),
        )

    def set_account(self, name: str, secret: str, rights: Rights) -> None:
        """Make the user, or give it another secret, and exactly these rights."""
        self._ask("policy_add", name, policy=rights.policy)
        self._ask("user_add", name, secret)
        self._ask("policy_set", name, user=name)

    def remove_account(self, name: str) -> None:
        self._ask("user_remove", name, missing=True)
        self._ask("policy_remove", name, missing=True)

    def accounts(self) -> set[str]:
        return set(json.loads(self._ask("user_list") or "{}"))

    def _ask(self, verb: str, *positional: str, missing: bool = False, **named: object) -> str:
        try:
            return str(getattr(self._admin, verb)(*positional, **named))
        except MinioAdminException as error:
            said = str(error)
            if missing and any(code in said for code in _MISSING):
                return ""
            raise StorageRefused(f"MinIO's admin API at {self.url}: {said[:300]}") from None
        except (MinioException, HTTPError, OSError, ValueError) as error:
            why = f"{type(error).__name__}. `warren site` needs MinIO, and its administrator's keys"
            raise StorageUnavailable(f"MinIO's admin API at {self.url} does not answer: {why}") from None
