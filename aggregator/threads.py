"""The threads that all work on numbers here is divided among, one a core."""

from __future__ import annotations

import functools
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import torch

THREADS_MAX = 8  # memory is the limit, not cores


@functools.cache
def pool() -> ThreadPoolExecutor:
    """Threads that fold windows, each by itself.

    Torch's own threads meet at the end of every block; where trainers keep the cores busy that waits for
    the scheduler each time: 100 MB took 150 ms instead of 15, and 8 updates of 1 MB 40 ms.
    """
    return ThreadPoolExecutor(cores(), "fold", initializer=torch.set_num_threads, initargs=(1,))


def cores() -> int:
    return min(THREADS_MAX, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def own_buffer(size: int) -> torch.Tensor:
    """(size,) uint8, the calling thread's until it asks again."""
    if getattr(_own, "buffer", None) is None or len(_own.buffer) < size:
        _own.buffer = torch.empty(size, dtype=torch.uint8)
    buffer: torch.Tensor = _own.buffer[:size]
    return buffer


_own = threading.local()
