"""Objects too large for one PUT: sent in parts, each tried again by itself, made by one last request."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from urllib.parse import quote

from .body import Body
from .errors import StorageError, StorageRefused
from .s3_errors import ConditionFailed, TryAgain, UploadGone
from .s3_requests import Requests

PARTS_MAX = 10_000  # S3's own limit

_UPLOAD_ID = re.compile(rb"<UploadId>([^<]{1,1024})</UploadId>")


class Multipart:
    """One upload of one body. No reader and no other writer notices it before it is completed."""

    def __init__(self, requests: Requests, key: str, body: Body, part_bytes: int) -> None:
        self._requests, self._key, self._body = requests, key, body
        self._part_bytes = max(part_bytes, -(-body.size // PARTS_MAX))
        self._id = ""

    def run(self, headers: Mapping[str, str], condition: Mapping[str, str]) -> None:
        """Upload and complete.

        Args:
            headers: content type and metadata.
            condition: If-None-Match or If-Match, which count when it is completed.

        Raises:
            ConditionFailed: and this upload certainly made nothing.
            TryAgain: it may have been completed, or not: look at what is there.
            StorageRefused, StorageUnavailable: as every verb of the store.
        """
        self._begin(headers)
        try:
            tags = [self._part(start) for start in range(0, self._body.size, self._part_bytes)]
            self._complete(tags, condition)
        except StorageError:
            with contextlib.suppress(StorageError):  # the store's own rules collect what is left
                self._requests.ask("DELETE", self._key, query=self._query())
            raise

    def _query(self) -> str:
        return f"uploadId={quote(self._id, safe='')}"

    def _begin(self, headers: Mapping[str, str]) -> None:
        _, answer = self._requests.ask("POST", self._key, query="uploads=", headers=headers)
        found = _UPLOAD_ID.search(answer)
        if found is None:
            raise StorageRefused(f"object store {self._requests.address.root} gave no id for an upload in parts")
        self._id = found[1].decode("ascii", "replace")

    def _part(self, start: int) -> str:
        """Send the part that begins there; returns its tag as the store wrote it."""
        length = min(self._part_bytes, self._body.size - start)
        query = f"partNumber={start // self._part_bytes + 1}&{self._query()}"
        patience = self._requests.patience()
        while True:
            blocks = self._body.blocks(start, length)
            try:
                headers, _ = self._requests.ask("PUT", self._key, query=query, body=blocks, size=length)
                return headers.get("etag", "")
            except UploadGone as error:
                raise TryAgain(f"{self._key}: the upload was aborted by somebody else") from error
            except TryAgain as error:
                patience.wait(error)

    def _complete(self, tags: list[str], condition: Mapping[str, str]) -> None:
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
            for number, tag in enumerate(tags, start=1)
        )
        document = memoryview(f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode())
        patience = self._requests.patience()
        lost = False
        while True:
            try:
                self._requests.ask(
                    "POST",
                    self._key,
                    query=self._query(),
                    headers=condition,
                    body=[document],
                    size=len(document),
                )
            except (ConditionFailed, UploadGone) as error:
                if lost or isinstance(error, UploadGone):
                    raise TryAgain(f"{self._key}: the answer to its completion was lost") from error
                raise
            except TryAgain as error:
                lost = True
                patience.wait(error)
            else:
                return
