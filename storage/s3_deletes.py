"""DeleteObjects, as S3 has it: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from html import escape

from .s3_requests import Requests

KEYS_MAX = 1000  # of one request: S3's own limit
ANSWER_BYTES_MAX = 4 << 20  # an error for each key: under 2 kB

_FAILED = re.compile(rb"<Error>")


def delete_many(requests: Requests, keys: Sequence[str]) -> Iterator[str]:
    """Delete these objects, many a request, and give the keys of those requests that not all came of.

    Quiet: the answer names only what was not deleted; what is not there counts as deleted. Raises as the store's
    verbs.
    """
    for start in range(0, len(keys), KEYS_MAX):
        some = keys[start : start + KEYS_MAX]
        if len(some) == 1 or not _deleted(requests, some):
            yield from some


def _deleted(requests: Requests, keys: Sequence[str]) -> bool:
    named = "".join(f"<Object><Key>{escape(key, quote=False)}</Key></Object>" for key in keys)
    document = f"<Delete><Quiet>true</Quiet>{named}</Delete>".encode()
    # S3 asks for it here, whatever it is otherwise signed with.
    md5 = base64.b64encode(hashlib.md5(document, usedforsecurity=False).digest()).decode()
    answer = requests.ask_patiently(
        "POST", "", query="delete=", headers={"content-md5": md5}, document=document, limit=ANSWER_BYTES_MAX
    )[1]
    return not _FAILED.search(answer)
