"""One signed request to an S3 store over kept connections, its answer mapped; the patience between tries."""

from __future__ import annotations

import http.client
import random
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

import urllib3
from minio.credentials.credentials import Credentials
from minio.signer import sign_v4_s3
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from .errors import StorageError, StorageRefused
from .s3_address import S3Address
from .s3_errors import ERROR_BYTES_MAX, TryAgain, answer_error, no_answer, read_code

RETRY_SECONDS_MAX = 30.0  # of trying again, from the first failure; progress starts it anew
PAUSE_SECONDS_FIRST = 0.02
PAUSE_SECONDS_MAX = 3.0
CONNECT_SECONDS = 5.0  # also the longest that one block of a body may take
SILENCE_SECONDS = 60.0  # without one byte of an answer; MinIO lets readers wait for a conditional PUT
CONNECTIONS_KEPT = 16

_UNSIGNED = "UNSIGNED-PAYLOAD"  # hashing a body (0.5 GB/s) would cost more than sending it


class Patience:
    """Pauses between tries, doubling and jittered, until the bound has passed."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.progress()

    def progress(self) -> None:
        """Something came of the last try: start anew."""
        self._until: float | None = None
        self._pause = PAUSE_SECONDS_FIRST

    def wait(self, error: TryAgain) -> None:
        """Sleep before the next try; raises the error instead when the bound would pass."""
        now = time.monotonic()
        if self._until is None:
            self._until = now + self._seconds
        pause = self._pause * random.uniform(0.5, 1.0)
        if now + pause > self._until:
            raise error
        time.sleep(pause)
        self._pause = min(PAUSE_SECONDS_MAX, self._pause * 2)


class Requests:
    """Safe to share between threads."""

    def __init__(self, address: S3Address, retry_seconds: float = RETRY_SECONDS_MAX) -> None:
        self.address = address
        self.retry_seconds = retry_seconds
        self._credentials = Credentials(address.access_key, address.secret_key)
        tls = address.tls()
        self.pool = urllib3.connection_from_url(  # all goes to one server: no pool has to be found for each request
            address.root,
            maxsize=CONNECTIONS_KEPT,
            retries=False,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=SILENCE_SECONDS),
            **({} if tls is None else {"ssl_context": tls}),
        )

    def patience(self) -> Patience:
        return Patience(self.retry_seconds)

    def open(
        self,
        method: str,
        key: str,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: Iterable[memoryview] | None = None,
        size: int | None = None,
    ) -> BaseHTTPResponse:
        """Send once; the answer with its body still to be read, and then closed or released.

        Raises:
            TryAgain, ConditionFailed, RangeOutside, UploadGone, ObjectMissing, StorageRefused,
            StorageUnavailable: as `s3_errors` reads the answer.
        """
        url = self.address.url_of(key, query)
        sent = self._signed(method, url, headers or {})
        if size is not None:
            sent["content-length"] = str(size)
        try:
            response = self.pool.urlopen(
                method,
                url.removeprefix(self.address.root),
                body=body,  # type: ignore[arg-type]  # memory is as good as bytes
                headers=sent,
                preload_content=False,
                redirect=False,
                assert_same_host=False,
                decode_content=False,
            )
        except (HTTPError, OSError, http.client.HTTPException) as error:
            raise no_answer(self.address, error) from error
        if 200 <= response.status < 300:
            return response
        raise self._error(f"{method} {key}".rstrip(), response)

    def ask(
        self,
        method: str,
        key: str,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: Iterable[memoryview] | None = None,
        size: int | None = None,
        limit: int = ERROR_BYTES_MAX,
    ) -> tuple[Mapping[str, str], bytes]:
        """Send once, and read the answer whole, up to the limit: (headers, body). Raises as `open`."""
        response = self.open(method, key, query=query, headers=headers, body=body, size=size)
        answer = self._whole(response, limit)
        # CompleteMultipartUpload may say 200 first and fail later; a DeleteResult's errors are of single keys.
        if b"<Error>" in answer[:1024] and b"<DeleteResult" not in answer[:1024]:
            raise answer_error(self.address, f"{method} {key}", 500, *read_code(answer))
        return response.headers, answer

    def ask_patiently(
        self,
        method: str,
        key: str,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        document: bytes = b"",
        limit: int = ERROR_BYTES_MAX,
    ) -> tuple[Mapping[str, str], bytes]:
        """As `ask`, again and again within the bound: for requests that may be carried out twice."""
        body = [memoryview(document)] if document else None
        size = len(document) if document or method == "PUT" else None
        patience = self.patience()
        while True:
            try:
                return self.ask(method, key, query=query, headers=headers, body=body, size=size, limit=limit)
            except TryAgain as error:
                patience.wait(error)

    def _signed(self, method: str, url: str, headers: Mapping[str, str]) -> dict[str, str]:
        now = datetime.now(UTC)
        signed: dict[str, str | list[str] | tuple[str]] = {
            "host": self.address.host,
            "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
            "x-amz-content-sha256": _UNSIGNED,
            **headers,
        }
        done = sign_v4_s3(
            method=method,
            url=urlsplit(url),
            region=self.address.region,
            headers=signed,
            credentials=self._credentials,
            content_sha256=_UNSIGNED,
            date=now,
        )
        return {name: str(value) for name, value in done.items()}

    def _whole(self, response: BaseHTTPResponse, limit: int) -> bytes:
        """At most `limit` bytes of the body; a longer one costs the connection."""
        try:
            body = response.read(limit, decode_content=False)
            if response.read(1, decode_content=False):
                response.close()
        except (HTTPError, OSError, http.client.HTTPException) as error:
            response.close()
            raise no_answer(self.address, error) from error
        response.release_conn()
        return body

    def _error(self, what: str, response: BaseHTTPResponse) -> StorageError:
        try:
            code, message = read_code(self._whole(response, ERROR_BYTES_MAX))
        except TryAgain:
            code, message = "", ""
        code = code or response.headers.get("x-minio-error-code", "")
        if response.status < 400:
            return StorageRefused(
                f"object store {self.address.root} sends elsewhere ({response.status}): wrong address?"
            )
        return answer_error(self.address, what, response.status, code, message)

    def close(self) -> None:
        self.pool.close()
