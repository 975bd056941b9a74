"""Which digest stands for which bytes, and of which kind one is.

What lasts (checkpoints, a strategy's state) has a blake3: nobody can make other bytes that have it, and trainers hold
what they fetch against the one that their round job names. What passes (updates, and what clients keep between
them) has an XXH3 of 128 bits, at a quarter of the cost: it tells bytes that were damaged, cut or mixed up, and no more
is asked of it, since who can write a client's update can write another in its place before it is counted, too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from blake3 import blake3
from xxhash import xxh3_128

from .files import opened

DIGEST_PATTERN = r"^(?:[0-9a-f]{32}|[0-9a-f]{64})$"  # an XXH3 or a blake3, in hex
PASSING_CHARACTERS = 32
BLOCK_BYTES = 1 << 20  # digested while it is in cache


class Hasher(Protocol):
    """Takes bytes in order; says their digest in hex."""

    def update(self, data: bytes | bytearray | memoryview, /) -> object: ...

    def hexdigest(self) -> str: ...


Digest = Callable[[], Hasher]


def lasting() -> Hasher:
    """A blake3, in the calling thread alone: the cores have other work."""
    return blake3(max_threads=1)


def passing() -> Hasher:
    """An XXH3 of 128 bits."""
    return xxh3_128()


def kind_of(digest: str | None) -> Digest:
    """The kind of a digest that was told or frozen: trainers of an older version tell a blake3 of an update."""
    return passing if digest is None or len(digest) == PASSING_CHARACTERS else lasting


def digest_of(data: bytes, digest: Digest = lasting) -> str:
    """The digest of these bytes, in hex."""
    hasher = digest()
    hasher.update(data)
    return hasher.hexdigest()


def digest_file(path: Path, digest: Digest = lasting) -> str:
    """The digest of a file's bytes, in hex."""
    hasher = digest()
    with opened(path) as file:
        buffer = memoryview(bytearray(max(1, min(BLOCK_BYTES, os.fstat(file.fileno()).st_size))))
        while count := file.readinto(buffer):
            hasher.update(buffer[:count])
    return hasher.hexdigest()


def has_digest(path: Path, digest: str) -> bool:
    """Whether a file's bytes have this digest, of whichever kind."""
    return digest_file(path, kind_of(digest)) == digest
