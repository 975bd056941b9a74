"""Where an S3 store is and who asks: checked once, shown without its secret."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from .errors import StorageRefused

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")


@dataclass(frozen=True, slots=True)
class S3Address:
    """One bucket of one store.

    Attributes:
        url: `http://host:port` or `https://host:port`, without a path and without credentials.
        region: what requests are signed for; MinIO's is us-east-1 unless it was told another.
        ca_file: the certificates to trust, as PEM, instead of the system's.
        cert_file, key_file: a client's certificate, where the store asks for one.
    """

    url: str
    access_key: str
    secret_key: str = field(repr=False)
    bucket: str
    region: str = "us-east-1"
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        """Raises StorageRefused, which never shows credentials."""
        try:
            parts = urlsplit(self.url)
            port_is_wrong = parts.port == 0
        except ValueError:
            parts, port_is_wrong = urlsplit(""), True
        if port_is_wrong or parts.scheme not in ("http", "https") or not parts.hostname:
            raise StorageRefused("the object store's address is not of the form http://host:port")
        if parts.username is not None or parts.path.strip("/") or parts.query or parts.fragment:
            shown = f"{parts.scheme}://{parts.hostname}"
            raise StorageRefused(f"the object store's address {shown} may hold no path and no credentials")
        if not _BUCKET.match(self.bucket):
            raise StorageRefused(f"{self.bucket[:80]!r} is no name for a bucket: 3 to 63 of a-z, 0-9, - and .")

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def secure(self) -> bool:
        return urlsplit(self.url).scheme == "https"

    @property
    def root(self) -> str:
        """The address as shown to people, and as requests begin."""
        return f"{urlsplit(self.url).scheme}://{self.host}"

    def url_of(self, key: str, query: str = "") -> str:
        """The URL of an object; the query as it is, its pairs in `name=value` form."""
        return f"{self.root}/{self.bucket}/{quote(key, safe='/-_.~')}" + (f"?{query}" if query else "")

    def tls(self) -> ssl.SSLContext | None:
        """What https trusts; None over http. Raises StorageRefused where the file can't be used."""
        if not self.secure:
            return None
        try:
            context = ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
            if self.cert_file is not None:
                context.load_cert_chain(self.cert_file, self.key_file)
        except OSError as error:  # ssl.SSLError is one too
            files = ", ".join(str(file) for file in (self.ca_file, self.cert_file, self.key_file) if file)
            raise StorageRefused(f"TLS files {files}: {error.strerror or error}") from error
        return context
