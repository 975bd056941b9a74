"""Reading from S3: streamed block by block, bounded before and while it comes, resumed where it broke off."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable

from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from .errors import ObjectDamaged, StorageRefused
from .s3_errors import ConditionFailed, RangeOutside, TryAgain, no_answer
from .s3_requests import Requests

BLOCK_BYTES = 1 << 18  # of which each thread that reads holds one
PROGRESS_BYTES = 1 << 20  # so much between two breaks is worth starting the patience anew

Sink = Callable[[int, bytes], None]  # (offset from the download's start, block); begins again at 0 if need be

_CONTENT_RANGE = re.compile(r"bytes (\d{1,16})-(\d{1,16})/(\d{1,16})\Z")


class Download:
    """One object, or a range of it, on its way into a sink."""

    def __init__(
        self,
        requests: Requests,
        key: str,
        sink: Sink,
        *,
        limit: int,
        start: int = 0,
        length: int | None = None,
    ) -> None:
        """Nothing is asked for yet.

        Args:
            requests: how to ask.
            key: the object.
            sink: takes the blocks.
            limit: bytes; an object (or range) over it is refused before its body is read.
            start: the first byte wanted.
            length: how many bytes are wanted, at least 1; None for all from `start` on.
        """
        self._requests, self._key, self._sink = requests, key, sink
        self._limit, self._start, self._length = limit, start, length
        self._begin_again()

    def _begin_again(self) -> None:
        self._done = 0
        self._size: int | None = None  # bytes that will come in all, from the first answer
        self._tag = ""

    def run(self) -> int:
        """Download; returns the number of bytes.

        Raises:
            ObjectMissing: no such key.
            ObjectDamaged: over the limit.
            StorageRefused, StorageUnavailable: as every verb of the store.
        """
        patience = self._requests.patience()
        while True:
            before = self._done
            try:
                self._go_on()
            except ConditionFailed:
                self._begin_again()
                patience.wait(TryAgain(f"{self._key} is replaced as often as it is read"))
            except RangeOutside:
                return 0
            except TryAgain as error:
                if self._done - before >= PROGRESS_BYTES:
                    patience.progress()
                patience.wait(error)
            else:
                return self._done

    def _go_on(self) -> None:
        response = self._requests.open("GET", self._key, headers=self._headers())
        try:
            self._check(response)
            while self._done < (self._size or 0):
                self._take(response)
        except BaseException:
            response.close()  # its rest is unread: the connection can't be kept
            raise
        response.release_conn()

    def _take(self, response: BaseHTTPResponse) -> None:
        try:
            block = response.read(BLOCK_BYTES, decode_content=False)
        except (HTTPError, OSError, http.client.HTTPException) as error:
            raise no_answer(self._requests.address, error) from error
        if not block:
            raise TryAgain(f"object store {self._requests.address.root}: {self._key} broke off")
        self._sink(self._done, block)
        self._done += len(block)

    def _headers(self) -> dict[str, str]:
        headers = {"if-match": self._tag} if self._tag else {}
        first = self._start + self._done
        if self._length is not None:
            headers["range"] = f"bytes={first}-{self._start + self._length - 1}"
        elif first:
            headers["range"] = f"bytes={first}-"
        return headers

    def _check(self, response: BaseHTTPResponse) -> None:
        """Whether the answer holds the bytes that were asked for, and no more than the limit."""
        first, size = self._coming(response)
        if first != self._start + self._done or (self._length is not None and size > self._length):
            raise StorageRefused(f"object store {self._requests.address.root} answers with another range than asked")
        if self._size is None:
            self._size = size
            self._tag = response.headers.get("etag", "")
        elif self._done + size != self._size:
            raise ConditionFailed(f"{self._key} changed its size")
        if self._size > self._limit:
            raise ObjectDamaged(f"{self._key}: {self._size} bytes are over the limit of {self._limit}")

    def _coming(self, response: BaseHTTPResponse) -> tuple[int, int]:
        """(first byte, number of bytes) of an answer's body."""
        if response.status == 206:
            found = _CONTENT_RANGE.match(response.headers.get("content-range", ""))
            if found is not None:
                return int(found[1]), int(found[2]) - int(found[1]) + 1
        length = response.headers.get("content-length", "")
        if response.status != 200 or not length.isdecimal() or len(length) > 16:
            raise StorageRefused(f"object store {self._requests.address.root} does not say how much it sends")
        return 0, int(length)
