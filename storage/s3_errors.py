"""What an S3 store's answer means for the caller: try again, a condition failed, or a person must mend."""

from __future__ import annotations

import re

from .errors import ObjectMissing, StorageError, StorageRefused, StorageUnavailable
from .s3_address import S3Address

ERROR_BYTES_MAX = 65_536  # of an error's XML; MinIO's are under 500

_CODE = re.compile(rb"<Code>([A-Za-z0-9_.-]{1,80})</Code>")
_MESSAGE = re.compile(rb"<Message>([^<]{1,300})</Message>")
_FULL = {
    "XMinioStorageFull",
    "XMinioDiskFull",
    "InsufficientStorage",
    "QuotaExceeded",
    "XMinioAdminBucketQuotaExceeded",
}
_AGAIN = {"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "IncompleteBody"}
_AGAIN |= {
    "ConditionalRequestConflict",
    "OperationAborted",
    "XMinioServerNotInitialized",
    "SlowDownRead",
    "SlowDownWrite",
}


class TryAgain(StorageUnavailable):
    """No answer, or one that says not now: the same request may succeed in a moment."""


class ConditionFailed(StorageError):
    """412: the object is there (If-None-Match), or is no longer the one meant (If-Match)."""


class BucketMissing(StorageRefused):
    """There is no such bucket."""


class BucketThere(StorageError):
    """The bucket to be made exists."""


class RangeOutside(StorageError):
    """416: the object ends before the range begins."""


class UploadGone(StorageError):
    """The multipart upload does not exist: completed, aborted, or never begun."""


def no_answer(address: S3Address, error: BaseException) -> StorageError:
    """What a broken connection means. TLS that does not fit stays so; anything else is worth another try."""
    words = str(error)
    where = f"object store {address.root}"
    if "CERTIFICATE_VERIFY_FAILED" in words:
        return StorageRefused(f"{where}: its certificate is not trusted. Give the CA file that signed it.")
    if "WRONG_VERSION_NUMBER" in words or "record layer failure" in words:
        return StorageRefused(f"{where} does not speak https. Write http:// in its address.")
    if "NameResolution" in type(error).__name__:
        return TryAgain(f"{where}: no such host is known here")
    if "NewConnection" in type(error).__name__:
        return TryAgain(f"{where} does not answer ({words.rpartition(': ')[2][:120]}). Is it running?")
    return TryAgain(f"{where}: the connection broke ({type(error).__name__})")


def read_code(body: bytes) -> tuple[str, str]:
    """(code, message) of an error's XML; no code and the first words of what is none."""
    code, message = _CODE.search(body), _MESSAGE.search(body)
    shown = (message[1] if message else b"" if code else body[:100]).decode("utf-8", "replace")
    return (code[1].decode() if code else "", "".join(c for c in shown if c.isprintable()))


def answer_error(address: S3Address, what: str, status: int, code: str, message: str) -> StorageError:
    """The error for an answer that is no success.

    Args:
        address: who answered.
        what: the verb and key, for people: `PUT jobs/a/job.json`.
        status: HTTP's.
        code: S3's word for it; may be empty (HEAD has no body).
        message: S3's sentence; may be empty.
    """
    where = f"object store {address.root}"
    if status == 412:
        return ConditionFailed(f"{what}: {code or status}")
    if status == 416:
        return RangeOutside(f"{what}: {code or status}")
    if code == "NoSuchUpload":
        return UploadGone(f"{what}: {code}")
    if code == "BucketAlreadyOwnedByYou":
        return BucketThere(f"{what}: {code}")
    if code == "NoSuchBucket":
        return BucketMissing(f"{where}: it has no bucket {address.bucket!r}. `warren setup` makes it.")
    if status == 404:
        return ObjectMissing(f"{where} has no object {what.partition(' ')[2]}")
    if code in _FULL or status == 507:
        return StorageUnavailable(f"{where} is full ({code or status}): make room, or raise its quota.")
    if code in _AGAIN or status in (408, 409, 429) or (status >= 500 and status != 501):
        return TryAgain(f"{where}: {what}: {code or 'status'} ({status})")
    return StorageRefused(f"{where}: {_mend(address, what, status, code, message)}")


def _mend(address: S3Address, what: str, status: int, code: str, message: str) -> str:
    """What a person does about an answer that stays the same however often it is asked for."""
    sentences = {
        "InvalidAccessKeyId": f"it knows no access key {address.access_key!r}. Mend the access key.",
        "SignatureDoesNotMatch": f"the secret key is not that of {address.access_key!r}. Mend it.",
        "AccessDenied": f"access key {address.access_key!r} may not {what}. Give it the right.",
        "RequestTimeTooSkewed": "its clock and this machine's differ by more than 15 minutes. Set the clock.",
        "AuthorizationHeaderMalformed": f"its region is not {address.region!r}. Mend the region.",
        "NotImplemented": f"it can't do {what}: it is too old, or no store that knows create-once.",
    }
    if code in sentences:
        return sentences[code]
    if status == 403:
        return f"access key {address.access_key!r} may not {what}, or its secret key is wrong."
    if status == 400 and "HTTPS server" in message:
        return "it speaks https. Write https:// in its address."
    return f"{what}: {code or 'status'} ({status}) {message}".rstrip()
