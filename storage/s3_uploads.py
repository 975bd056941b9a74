"""The unfinished uploads of a bucket: listed page by page, and aborted.

MinIO lists those that its own process began since it started, and ends what is a day old by itself.
"""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote, unquote_plus

from .errors import ObjectMissing, StorageRefused
from .s3_bucket import PAGE_BYTES_MAX, PAGE_KEYS
from .s3_errors import UploadGone
from .s3_requests import Requests
from .uploads import Upload

PAGES_MAX = 1000


class Uploads:
    """Of one bucket."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def all(self) -> Iterator[Upload]:
        """Every upload under way, as far as the store lists them. Raises as the store's verbs."""
        marks: dict[str, str] = {}
        for _ in range(PAGES_MAX):
            page, now = self._page(marks)
            for entry in page.iterfind("{*}Upload"):
                key, begun = unquote_plus(entry.findtext("{*}Key", "")), entry.findtext("{*}Initiated", "")
                yield Upload(key, entry.findtext("{*}UploadId", ""), _age(begun, now))
            following = {
                "key-marker": unquote_plus(page.findtext("{*}NextKeyMarker", "")),
                "upload-id-marker": page.findtext("{*}NextUploadIdMarker", ""),
            }
            if page.findtext("{*}IsTruncated", "") != "true" or following == marks:
                return
            marks = following

    def abort(self, upload: Upload) -> None:
        """End it; nothing happens where it is gone."""
        with contextlib.suppress(ObjectMissing, UploadGone):
            self._requests.ask_patiently("DELETE", upload.key, query=f"uploadId={quote(upload.id, safe='')}")

    def _page(self, marks: Mapping[str, str]) -> tuple[ElementTree.Element, datetime]:
        """One page, and the store's clock when it made it."""
        query = {"encoding-type": "url", "max-uploads": str(PAGE_KEYS), "prefix": "", "uploads": "", **marks}
        words = "&".join(f"{name}={quote(value, safe='')}" for name, value in sorted(query.items()))
        headers, answer = self._requests.ask_patiently("GET", "", query=words, limit=PAGE_BYTES_MAX)
        try:
            page = ElementTree.fromstring(answer)
            now = parsedate_to_datetime(headers.get("date", ""))
        except (ElementTree.ParseError, ValueError) as error:
            raise self._unreadable() from error
        if not page.tag.endswith("ListMultipartUploadsResult"):
            raise self._unreadable()
        return page, now

    def _unreadable(self) -> StorageRefused:
        return StorageRefused(f"object store {self._requests.address.root} does not list uploads as S3 does")


def _age(begun: str, now: datetime) -> float:
    """Seconds since then; 0, as young as can be, for what can't be read."""
    try:
        at = datetime.fromisoformat(begun)
    except ValueError:
        return 0.0
    return max(0.0, (now - (at if at.tzinfo else at.replace(tzinfo=UTC))).total_seconds())
