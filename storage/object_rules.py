"""Which keys and metadata any object store takes: the same in a folder and on S3, whoever wrote them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .errors import KeyRefused

KEY_BYTES_MAX = 1024  # S3's own limit
SEGMENT_BYTES_MAX = 255  # a file's name, here and inside MinIO
METADATA_BYTES_MAX = 2048  # S3's own limit, names and values together

_OURS = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*\Z")  # breaks no rule but of length
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_METADATA_NAME = re.compile(r"[a-z0-9-]{1,63}\Z")
_METADATA_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?\Z")


def check_key(key: str) -> str:
    """The key as it is.

    Raises:
        KeyRefused: it is empty, absolute, too long, or has a part that could leave its folder.
    """
    if len(key) <= SEGMENT_BYTES_MAX and _OURS.match(key):
        return key
    for segment in key.split("/"):
        if not segment:
            raise KeyRefused(f"key {key[:80]!r} has an empty part: no // and no / at its ends")
        _check_segment(segment, key)
    _check_whole(key)
    return key


def check_prefix(prefix: str) -> str:
    """The prefix as it is: a key's beginning, cut anywhere; may be empty. Raises KeyRefused."""
    *folders, rest = prefix.split("/")
    if not all(folders):
        raise KeyRefused(f"prefix {prefix[:80]!r} has an empty part")
    for segment in folders:
        _check_segment(segment, prefix)
    if rest == "..":
        raise KeyRefused(f"prefix {prefix[:80]!r} would leave its folder")
    _check_whole(prefix)
    return prefix


def check_metadata(metadata: Mapping[str, str] | None) -> Mapping[str, str]:
    """The metadata as it is. Raises KeyRefused where HTTP headers could not carry it unchanged."""
    metadata = metadata or {}
    for name, value in metadata.items():
        if not _METADATA_NAME.match(name):
            raise KeyRefused(f"metadata name {name[:80]!r} is not of a-z, 0-9 and -")
        if not _METADATA_VALUE.match(value) or "  " in value:
            raise KeyRefused(f"metadata {name}: {value[:80]!r} is not plain printable ASCII")
    size = sum(len(name) + len(value) for name, value in metadata.items())
    if size > METADATA_BYTES_MAX:
        raise KeyRefused(f"metadata of {size} bytes is over the limit of {METADATA_BYTES_MAX}")
    return metadata


def _check_segment(segment: str, key: str) -> None:
    if segment in (".", "..") or "\\" in segment:
        raise KeyRefused(f"key {key[:80]!r} could leave its folder")
    if len(_utf8(segment)) > SEGMENT_BYTES_MAX:
        raise KeyRefused(f"key {key[:80]!r}: a part of it is over {SEGMENT_BYTES_MAX} bytes")


def _check_whole(key: str) -> None:
    if key.startswith("."):
        raise KeyRefused(f"key {key[:80]!r} starts with a dot: such folders are the store's own")
    if _CONTROL.search(key):
        raise KeyRefused(f"key {key[:80]!r} has a control character")
    if len(_utf8(key)) > KEY_BYTES_MAX:
        raise KeyRefused(f"key {key[:80]!r} is over {KEY_BYTES_MAX} bytes")


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise KeyRefused(f"key {text[:80]!r} is not text") from None
