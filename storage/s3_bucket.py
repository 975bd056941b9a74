"""The bucket as a whole: made once, and listed page by page, each page asked for again when it fails."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from urllib.parse import quote, unquote_plus

from .errors import ObjectMissing, StorageRefused
from .objects import OBJECT_BYTES_MAX, ObjectInfo
from .s3_errors import BucketMissing, BucketThere
from .s3_requests import Requests

PAGE_KEYS = 1000  # S3's own limit
PAGE_BYTES_MAX = 16 << 20  # 1000 keys of 1 kB, each of its bytes written as three, with room to spare
HOME_REGION = "us-east-1"  # the one that S3 does not want named


class Bucket:
    """Here is no minio-py: it takes a gateway's 502 while listing for a broken store, and can't be told to retry."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def make(self) -> bool:
        """Make the bucket; False if it was there already. Raises StorageRefused where it can't be listed."""
        try:
            self._requests.ask_patiently("HEAD", "")
            made = False
        except (BucketMissing, ObjectMissing):
            made = self._make()
        next(self.objects("", ""), None)  # a console, or anything else that speaks HTTP, ends here
        return made

    def _make(self) -> bool:
        region = self._requests.address.region
        place = f"<LocationConstraint>{region}</LocationConstraint>" if region != HOME_REGION else ""
        body = f"<CreateBucketConfiguration>{place}</CreateBucketConfiguration>".encode() if place else b""
        try:
            self._requests.ask_patiently("PUT", "", document=body)
        except BucketThere:
            return False
        return True

    def objects(self, prefix: str, after: str) -> Iterator[ObjectInfo]:
        """Objects whose keys start with the prefix and come after `after`, in order."""
        for page in self._pages(prefix, after, ""):
            for entry in page.iterfind("{*}Contents"):
                key = _key(entry, "Key")
                if not key.endswith("/"):
                    yield ObjectInfo(key, self._size(entry), entry.findtext("{*}ETag", "").strip('"'))

    def folders(self, prefix: str) -> Iterator[str]:
        """Names that continue the prefix's last folder and have more below them, in order."""
        above = len(prefix.rpartition("/")[0]) + ("/" in prefix)
        for page in self._pages(prefix, "", "/"):
            for entry in page.iterfind("{*}CommonPrefixes"):
                yield _key(entry, "Prefix")[above:-1]

    def _pages(self, prefix: str, after: str, delimiter: str) -> Iterator[ElementTree.Element]:
        token = ""
        while True:
            page = self._page(prefix, after, delimiter, token)
            yield page
            following = page.findtext("{*}NextContinuationToken", "")
            if page.findtext("{*}IsTruncated", "") != "true" or not following:
                return
            if following == token:
                raise self._no_listing("its pages do not end")
            token = following

    def _page(self, prefix: str, after: str, delimiter: str, token: str) -> ElementTree.Element:
        query = {
            "continuation-token": token,
            "delimiter": delimiter,
            "encoding-type": "url",
            "list-type": "2",
            "max-keys": str(PAGE_KEYS),
            "prefix": prefix,
            "start-after": "" if token else after,
        }
        # An empty prefix and delimiter are sent: policies of MinIO that look at them deny without.
        pairs = (f"{name}={quote(value, safe='')}" for name, value in query.items() if value or name in _ALWAYS)
        _, answer = self._requests.ask_patiently("GET", "", query="&".join(pairs), limit=PAGE_BYTES_MAX)
        try:
            page = ElementTree.fromstring(answer)
        except (ElementTree.ParseError, ValueError) as error:
            raise self._no_listing("it does not answer as an S3 store does") from error
        if not page.tag.endswith("ListBucketResult"):
            raise self._no_listing("it does not answer as an S3 store does")
        return page

    def _size(self, entry: ElementTree.Element) -> int:
        size = entry.findtext("{*}Size", "")
        if not size.isdecimal() or len(size) > 16 or int(size) > OBJECT_BYTES_MAX:
            raise self._no_listing(f"it says that an object has {size[:40]!r} bytes")
        return int(size)

    def _no_listing(self, why: str) -> StorageRefused:
        return StorageRefused(f"object store {self._requests.address.root}: listing: {why}")


_ALWAYS = ("delimiter", "prefix")


def _key(entry: ElementTree.Element, name: str) -> str:
    return unquote_plus(entry.findtext(f"{{*}}{name}", ""))
