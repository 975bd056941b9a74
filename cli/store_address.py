"""The object store's address as the store's adapter takes it. Light: completion waits for its import."""

from __future__ import annotations

from ..storage.s3 import S3Address
from .context import Addresses


def store_address(addresses: Addresses) -> S3Address:
    """The bucket's address, with keys and TLS files. Raises StorageRefused."""
    ca_file, cert_file, key_file = addresses.tls_files
    return S3Address(
        addresses.s3,
        addresses.access_key,
        addresses.secret_key,
        addresses.bucket,
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
    )
