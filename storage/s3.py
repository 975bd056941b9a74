"""The object store on MinIO, or any S3 with conditional writes: the verbs, and what a lost answer means."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path

from .body import Body
from .disk_errors import disk_answers
from .errors import ObjectDamaged, ObjectMissing, StorageRefused
from .growing import Growing
from .labels import check_labels
from .object_rules import check_key, check_metadata, check_prefix
from .objects import DOCUMENT_BYTES_MAX, OBJECT_BYTES_MAX, ObjectInfo
from .s3_address import S3Address
from .s3_bucket import Bucket
from .s3_deletes import delete_many
from .s3_download import Download
from .s3_errors import ConditionFailed, TryAgain
from .s3_labels import put_labels
from .s3_multipart import Multipart
from .s3_requests import RETRY_SECONDS_MAX, Requests
from .s3_space import minio_space
from .s3_uploads import Uploads
from .space import Space
from .uploads import Upload

SINGLE_PUT_BYTES_MAX = 5 << 30  # S3's own limit
PART_BYTES = 256 << 20
WHOLE_AGAIN_BYTES_MAX = 64 << 20  # what is larger and broke off goes on in parts: the next break costs one of them
PART_AGAIN_BYTES = 32 << 20
LOOK_FIRST_BYTES = 64 << 20  # from here on asking first is nothing beside the body, which hardly ever comes second

__all__ = ["S3Address", "S3Store"]


class S3Store:
    """One bucket; safe to share between threads."""

    def __init__(
        self,
        address: S3Address,
        *,
        retry_seconds: float = RETRY_SECONDS_MAX,
        single_put_bytes_max: int = SINGLE_PUT_BYTES_MAX,
        part_bytes: int = PART_BYTES,
        whole_again_bytes_max: int = WHOLE_AGAIN_BYTES_MAX,
    ) -> None:
        """Connect to nothing yet.

        Args:
            address: the store, its bucket, and the credentials.
            retry_seconds: how long each verb tries again before it raises; a command line waits less.
            single_put_bytes_max: larger bodies go in parts.
            part_bytes: of one part, at least 5 MiB.
            whole_again_bytes_max: larger bodies go in parts, of at most PART_AGAIN_BYTES, once a try broke off.

        Raises:
            StorageRefused: the address's CA file can't be used.
        """
        self._requests = Requests(address, retry_seconds)
        self._bucket = Bucket(self._requests)
        self._single_put_bytes_max = single_put_bytes_max
        self._part_bytes = part_bytes
        self._whole_again_bytes_max = whole_again_bytes_max

    def make_bucket(self) -> bool:
        """Make the bucket if it is not there; True if this call made it."""
        return self._bucket.make()

    def create(
        self,
        key: str,
        body: bytes | Path,
        *,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        given: bool = False,
    ) -> bool:
        headers = _headers(content_type, metadata)
        check_key(key)
        with Body(body) as source:
            if source.size >= LOOK_FIRST_BYTES and self.stat(key) is not None:
                return False
            return self._put(key, source, headers, None)

    def create_growing(self, key: str, file: Growing) -> bool:
        """Implements `growing.TakesGrowing`: a try that follows a broken one sends it from the start."""
        headers = _headers("application/octet-stream", None)
        check_key(key)
        with Body(file) as source:
            return self._put(key, source, headers, None)

    def replace(
        self,
        key: str,
        body: bytes | Path,
        *,
        tag: str | None,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
    ) -> bool:
        if tag is None:
            return self.create(key, body, content_type=content_type, metadata=metadata)
        headers = _headers(content_type, metadata)
        check_key(key)
        with Body(body) as source, contextlib.suppress(ObjectMissing):
            return self._put(key, source, headers, tag)
        return False

    def read(self, key: str, *, limit: int = DOCUMENT_BYTES_MAX) -> bytes:
        return self._download(key, limit=limit)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        if length > 0:
            return self._download(key, limit=length, start=start, length=length)
        if self.stat(key) is None:
            raise ObjectMissing(f"no object {key}")
        return b""

    def fetch(self, key: str, path: Path, *, limit: int) -> int:
        check_key(key)
        with path.open("r+b" if path.exists() else "wb") as file:

            def write(at: int, block: bytes) -> None:
                with disk_answers(path):
                    view = memoryview(block)
                    while view:
                        count = os.pwrite(file.fileno(), view, at)
                        view, at = view[count:], at + count

            size = Download(self._requests, key, write, limit=limit).run()
            file.truncate(size)
        return size

    def local_path(self, key: str) -> Path | None:
        return None

    def stat(self, key: str) -> ObjectInfo | None:
        try:
            headers, _ = self._requests.ask_patiently("HEAD", check_key(key))
        except ObjectMissing:
            return None
        size = headers.get("content-length", "")
        if not size.isdecimal() or int(size) > OBJECT_BYTES_MAX:
            raise ObjectDamaged(f"{key}: the store says that it has {size[:40]!r} bytes")
        return ObjectInfo(key, int(size), headers.get("etag", "").strip('"'))

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        return self._bucket.objects(check_prefix(prefix), after)

    def folders(self, prefix: str) -> Iterator[str]:
        return self._bucket.folders(check_prefix(prefix))

    def delete(self, key: str) -> None:
        with contextlib.suppress(ObjectMissing):
            self._requests.ask_patiently("DELETE", check_key(key))

    def delete_all(self, keys: Sequence[str]) -> None:
        for key in delete_many(self._requests, [check_key(key) for key in keys]):
            self.delete(key)  # says why

    def label(self, key: str, labels: Mapping[str, str]) -> None:
        """Let the object have these tags, and no others."""
        put_labels(self._requests, check_key(key), check_labels(labels))

    def space(self) -> Space | None:
        """The room that is left, where this is MinIO and the credentials may ask."""
        return minio_space(self._requests)

    def uploads(self) -> Iterator[Upload]:
        """Uploads in parts that were begun and neither completed nor aborted."""
        return Uploads(self._requests).all()

    def abort(self, upload: Upload) -> None:
        """End an upload, and free its parts."""
        Uploads(self._requests).abort(upload)

    def close(self) -> None:
        self._requests.close()

    def _download(self, key: str, *, limit: int, start: int = 0, length: int | None = None) -> bytes:
        found = BytesIO()  # it gives away its own memory; blocks that are joined would be there twice

        def write(at: int, block: bytes) -> None:
            found.seek(at)
            found.write(block)

        found.truncate(Download(self._requests, check_key(key), write, limit=limit, start=start, length=length).run())
        return found.getvalue()

    def _put(self, key: str, body: Body, headers: Mapping[str, str], tag: str | None) -> bool:
        """Write if the object still has this tag (None: if there is none); whether this call wrote it."""
        patience = self._requests.patience()
        lost = False  # whether an earlier try may have been carried out
        while True:
            try:
                self._send(key, body, headers, tag, again=lost)
            except ConditionFailed:
                return lost and self._holds(self.stat(key), body)
            except TryAgain as error:
                lost = True
                patience.wait(error)
                # Sending again to find out would not do: a store that refuses without reading the body
                # may break the connection before its answer is read.
                found = self.stat(key)
                if (None if found is None else found.tag) != tag:
                    return self._holds(found, body)
            else:
                return True

    def _send(self, key: str, body: Body, headers: Mapping[str, str], tag: str | None, *, again: bool) -> None:
        condition = {"if-none-match": "*"} if tag is None else {"if-match": f'"{tag}"'}
        single = min(self._single_put_bytes_max, self._whole_again_bytes_max) if again else self._single_put_bytes_max
        if body.size > single:
            part = min(self._part_bytes, PART_AGAIN_BYTES) if again else self._part_bytes
            Multipart(self._requests, key, body, part).run(headers, condition)
            return
        answer, _ = self._requests.ask("PUT", key, headers={**headers, **condition}, body=body.blocks(), size=body.size)
        if not answer.get("etag"):
            where = self._requests.address.root
            raise StorageRefused(f"{where} does not answer as an object store does (its console's port?)")

    def _holds(self, found: ObjectInfo | None, body: Body) -> bool:
        """Whether the object has these bytes: by its tag where that is their MD5, else by reading them."""
        if found is None or found.size != body.size:
            return False
        digest = hashlib.md5(usedforsecurity=False)
        for block in body.blocks():
            digest.update(block)
        return found.tag == digest.hexdigest() or self._same_bytes(found.key, body)

    def _same_bytes(self, key: str, body: Body) -> bool:
        differing: list[int] = []

        def compare(at: int, block: bytes) -> None:
            if b"".join(body.blocks(at, len(block))) != block:
                differing.append(at)

        Download(self._requests, key, compare, limit=body.size).run()
        return not differing


def _headers(content_type: str, metadata: Mapping[str, str] | None) -> dict[str, str]:
    headers = {f"x-amz-meta-{name}": value for name, value in check_metadata(metadata).items()}
    return {"content-type": content_type, **headers}
