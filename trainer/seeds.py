"""Seeds of every source of chance: from the job's seed, round, client and purpose, and nothing else."""

from __future__ import annotations

import json
from typing import Literal

from blake3 import blake3

Purpose = Literal["init", "train", "shuffle", "batch", "validation", "data", "compress", "personal", "personal order"]

SEED_BITS = 63  # torch takes a signed 64-bit seed
_compact = json.JSONEncoder(separators=(",", ":")).encode
NUMPY_SEED_MASK = (1 << 32) - 1  # numpy's legacy generator takes 32 bits


def seed_of(job_seed: int, purpose: Purpose, *, job_round: int | None = None, client: str = "") -> int:
    """A seed of 63 bits. What must not follow the round or the client leaves it out."""
    named = _compact([job_seed, job_round, client, purpose])
    return int.from_bytes(blake3(named.encode()).digest(length=8), "little") >> (64 - SEED_BITS)
