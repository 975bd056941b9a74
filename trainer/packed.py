"""An update's file where the job asks for a smaller one: each tensor packed by the job's settings, in name order."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from numpy.random import PCG64

from ..storage.codecs.forms import Array, Form
from ..storage.codecs.packing import Row, pack
from ..storage.tensors import Written, write_file
from ..storage.torch_tensors import row_of
from .errors import TaskError
from .seeds import seed_of
from .wire import Work


def save_packed(
    work: Work, tensors: Mapping[str, torch.Tensor], trained: Collection[str], metadata: Mapping[str, str]
) -> Written:
    """Write the update of this work. Its chance follows from (job seed, round, client) alone.

    Raises:
        TaskError: a tensor has a name that packing needs.
        StorageUnavailable: the disk is full or refuses.
    """
    draw = Chance(seed_of(work.spec.seed, "compress", job_round=work.job_round, client=work.client))
    rows: list[Row] = []
    for name in sorted(tensors):
        _, dtype, shape, data = row_of(name, tensors[name])
        rows += pack(work.spec.compress, Form(name, dtype, shape), data, trained=name in trained, draw=draw)
    names = [row[0] for row in rows]
    if len(set(names)) != len(names):
        taken = next(name for name in names if names.count(name) > 1)
        raise TaskError(f"model() has a tensor {taken!r}, a name that [compress] needs; rename it")
    return write_file(work.output_path, rows, metadata)


class Chance:
    """Uniform uint32 from a seed: the generator's raw output, which numpy keeps the same from version to version."""

    def __init__(self, seed: int) -> None:
        self._bits = PCG64(seed)

    def __call__(self, count: int) -> Array:
        return self._bits.random_raw((count + 1) // 2).astype("<u8").view("<u4")[:count]
