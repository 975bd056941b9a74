"""PutObjectTagging, as S3 has it: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectTagging.html."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

from .s3_requests import Requests


def put_labels(requests: Requests, key: str, labels: Mapping[str, str]) -> None:
    """Replace the tags of an object; they have been checked. Raises as the store's verbs."""
    pairs = "".join(f"<Tag><Key>{name}</Key><Value>{value}</Value></Tag>" for name, value in labels.items())
    document = f"<Tagging><TagSet>{pairs}</TagSet></Tagging>".encode()
    # S3 asks for it here, whatever it is otherwise signed with.
    md5 = base64.b64encode(hashlib.md5(document, usedforsecurity=False).digest()).decode()
    requests.ask_patiently("PUT", key, query="tagging=", headers={"content-md5": md5}, document=document)
