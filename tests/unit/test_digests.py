"""Digests of files: both kinds by their published vectors, and told apart by their text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from warren.storage.digests import BLOCK_BYTES, DIGEST_PATTERN, digest_file, has_digest, kind_of, lasting, passing
from warren.storage.errors import ObjectMissing

# Of no bytes: BLAKE3's test_vectors.json, and XXH3_128bits of xxHash 0.8 , as `xxhsum -H2` prints it.
EMPTY = {
    lasting: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    passing: "99aa06d3014798d86001c324468d497f",
}


@pytest.mark.parametrize("kind", EMPTY)
def test_the_published_digest_of_no_bytes(tmp_path: Path, kind: type) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert digest_file(tmp_path / "empty", kind) == EMPTY[kind]


@pytest.mark.parametrize("kind", EMPTY)
def test_a_file_of_several_blocks_has_the_digest_of_its_bytes(tmp_path: Path, kind: type) -> None:
    body = bytes(range(251)) * (3 * BLOCK_BYTES // 251)
    (tmp_path / "file").write_bytes(body)
    hasher = kind()
    hasher.update(body)
    told = digest_file(tmp_path / "file", kind)
    assert told == hasher.hexdigest()
    assert re.fullmatch(DIGEST_PATTERN, told)
    assert kind_of(told) is kind
    assert has_digest(tmp_path / "file", told)
    (tmp_path / "file").write_bytes(body[:-1] + b"\0\0")
    assert not has_digest(tmp_path / "file", told)


def test_a_file_that_is_gone_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ObjectMissing):
        digest_file(tmp_path / "gone")
