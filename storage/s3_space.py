"""MinIO's own account of its room: a metric that it shows to administrators. Other stores have none."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import time

import urllib3
from urllib3.exceptions import HTTPError

from .s3_requests import Requests
from .space import Space

PATH = "/minio/v2/metrics/cluster"
ANSWER_SECONDS_MAX = 3.0  # a warning that comes late does no harm
ANSWER_BYTES_MAX = 4 << 20
TOKEN_SECONDS = 300
BYTES_MAX = 1 << 62

_FREE, _TOTAL = b"minio_cluster_capacity_usable_free_bytes", b"minio_cluster_capacity_usable_total_bytes"


def minio_space(requests: Requests) -> Space | None:
    """What the store says; None for one that is no MinIO, or does not tell these credentials."""
    address = requests.address
    token = _token(address.access_key, address.secret_key)
    try:
        response = requests.pool.request(
            "GET",
            PATH,
            headers={"authorization": f"Bearer {token}"},
            timeout=urllib3.Timeout(total=ANSWER_SECONDS_MAX),
            redirect=False,
            preload_content=False,
        )
        body = response.read(ANSWER_BYTES_MAX, decode_content=False)
        response.close()
    except (HTTPError, OSError, http.client.HTTPException):
        return None
    return read_metrics(body) if response.status == 200 else None


def read_metrics(body: bytes) -> Space | None:
    """Free and total bytes from metrics in Prometheus' text form; None where they do not say both."""
    found: dict[bytes, int] = {}
    for line in body.splitlines():
        name = line.split(b"{")[0].split(b" ")[0]
        if name in (_FREE, _TOTAL):
            try:
                value = float(line.rsplit(b" ", 1)[-1])
            except ValueError:
                return None
            if not 0 <= value <= BYTES_MAX:
                return None
            found[name] = int(value)
    return Space(found[_FREE], found[_TOTAL]) if len(found) == 2 else None


def _token(access_key: str, secret_key: str) -> str:
    """What `mc admin prometheus generate` makes: a JWT of the access key, signed with its secret."""
    header = _encoded(json.dumps({"alg": "HS512", "typ": "JWT"}).encode())
    claims = {"sub": access_key, "iss": "prometheus", "exp": int(time.time()) + TOKEN_SECONDS}
    text = f"{header}.{_encoded(json.dumps(claims).encode())}"
    return f"{text}.{_encoded(hmac.digest(secret_key.encode(), text.encode(), hashlib.sha512))}"


def _encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()
