"""Two rounds of a job by an aggregator with limits, on a store of the test's choice: what it wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from made.committed import spec_of

from warren.aggregator.averaging import Averaging
from warren.storage import keys
from warren.storage.documents import Manifest
from warren.storage.objects import ObjectStore
from warren.storage.torch_tensors import save

LIMITS = {"memory_limit": 500_000, "spool_bytes_max": 0}  # bytes; an update of `job_on` has 360,000


def job_on(store: ObjectStore, scratch: Path, reducer: dict[str, Any] | None = None, **limits: Any) -> list[str]:
    """Two rounds of a job of three clients, by an aggregator with these limits; the digests of all it wrote."""
    job = spec_of("lung-aaa111", 2, strategy={"name": "fedadam"}, reducer=reducer or {})
    numbers = Averaging(store, scratch, **limits)
    said = {"trainable": '["w"]', "tied": "{}", "warren": "1", "job": job.job, "attempt": "a"}
    for number in range(3):
        entries = []
        base = numbers.base(job.job, number - 1) if number else None
        for client in ("c000", "c001", "c002")[: 3 if number else 1]:
            chance = torch.Generator().manual_seed(hash((number, client)))
            kind = {"round": str(number), "kind": "train" if number else "init", "client": client, "examples": "5"}
            save(scratch.with_name("update"), {"w": torch.randn(90_000, generator=chance)}, said | kind)
            key = keys.update(job.job, number, "pool.default", client, "a")
            store.create(key, scratch.with_name("update"))
            name = keys.read_update(key)
            assert name is not None
            entries.append(numbers.examine(name, job, base, None))
            numbers.offer(job, number, entries[-1], ("c000", "c001", "c002"))
        numbers.write(job, Manifest(job=job.job, round=number, base=base, entries=tuple(entries)))
    numbers.forget(job.job)
    written = [info.key for info in store.list(f"jobs/{job.job}/checkpoints/")]
    assert len(written) == 5
    return [store.read(key).hex() for key in written]
