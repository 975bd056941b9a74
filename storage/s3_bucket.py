"""What minio-py does for us: making the bucket, and listing it by pages, resumed after the last key."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from typing import TypeVar

from minio import Minio
from minio.datatypes import Object
from minio.error import MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError

from .errors import StorageError, StorageRefused
from .objects import ObjectInfo
from .s3_errors import TryAgain, answer_error, no_answer
from .s3_requests import Requests

_T = TypeVar("_T")
# minio-py lets urllib3's and the XML parser's own errors through (SyntaxError is ParseError's base).
_LIBRARY = (MinioException, HTTPError, OSError, http.client.HTTPException, SyntaxError, ValueError)


class Bucket:
    """Shares its connections with the requests that carry data."""

    def __init__(self, requests: Requests) -> None:
        address = requests.address
        self._requests = requests
        self._name = address.bucket
        self._client = Minio(
            endpoint=address.host,
            access_key=address.access_key,
            secret_key=address.secret_key,
            secure=address.secure,
            region=address.region,
            http_client=requests.pool,
        )

    def make(self) -> bool:
        """Make the bucket; False if it was there already."""
        if self._patiently("look for bucket", lambda: self._client.bucket_exists(bucket_name=self._name)):
            return False
        region = self._requests.address.region
        return self._patiently("make bucket", lambda: self._make(region))

    def _make(self, region: str) -> bool:
        try:
            self._client.make_bucket(bucket_name=self._name, location=region)
        except S3Error as error:
            if error.code == "BucketAlreadyOwnedByYou":
                return False
            raise
        return True

    def objects(self, prefix: str, after: str) -> Iterator[ObjectInfo]:
        """Objects whose keys start with the prefix and come after `after`, in order."""
        for found in self._listing(prefix, after, folders=False):
            yield ObjectInfo(found.object_name or "", found.size or 0, (found.etag or "").strip('"'))

    def folders(self, prefix: str) -> Iterator[str]:
        """Names that continue the prefix's last folder and have more below them, in order."""
        above = len(prefix.rpartition("/")[0]) + ("/" in prefix)
        for found in self._listing(prefix, "", folders=True):
            yield (found.object_name or "")[above:-1]

    def _listing(self, prefix: str, after: str, *, folders: bool) -> Iterator[Object]:
        """Objects, or the folders of one level; minio-py gives both kinds mixed where it is not recursive."""
        patience = self._requests.patience()
        last = after
        while True:
            try:
                for found in self._client.list_objects(
                    bucket_name=self._name, prefix=prefix, recursive=not folders, start_after=last or None
                ):
                    key = found.object_name or ""
                    if key.endswith("/") is folders and key > last:  # a folder comes again after a break
                        last = key
                        patience.progress()
                        yield found
            except _LIBRARY as error:
                patience.wait(self._worth_it(f"list {prefix}", error))
            else:
                return

    def _patiently(self, what: str, call: Callable[[], _T]) -> _T:
        patience = self._requests.patience()
        while True:
            try:
                return call()
            except _LIBRARY as error:
                patience.wait(self._worth_it(what, error))

    def _worth_it(self, what: str, error: Exception) -> TryAgain:
        """The error in our words, if trying again may help; raises it otherwise."""
        ours = self._read(what, error)
        if isinstance(ours, TryAgain):
            return ours
        raise ours from error

    def _read(self, what: str, error: Exception) -> StorageError:
        address = self._requests.address
        if isinstance(error, S3Error):
            status = error.response.status if error.response is not None else 400
            return answer_error(address, what, status, error.code or "", error.message or "")
        if isinstance(error, ServerError):
            return answer_error(address, what, error.status_code, "", "")
        if isinstance(error, (HTTPError, OSError, http.client.HTTPException)):
            return no_answer(address, error)
        return StorageRefused(f"object store {address.root}: {what}: it does not answer as an S3 store does")
