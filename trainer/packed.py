"""An update's file where the job asks for a smaller one: each tensor packed by the job's settings, in name order."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from numpy.random import PCG64

from ..storage.codecs import topk
from ..storage.codecs.forms import Array, Form, stored
from ..storage.codecs.packing import Row, pack
from ..storage.compress import CompressSpec
from ..storage.digests import passing
from ..storage.tensors import Written, write_file
from ..storage.torch_tensors import row_of
from .errors import TaskError
from .seeds import seed_of
from .wire import Work

REST = "rest/"  # begins the name of what is left of a tensor in what the client keeps


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
    return write_file(work.output_path, rows, metadata, passing)


def fed_back(
    spec: CompressSpec, tensors: Mapping[str, torch.Tensor], trained: Collection[str], kept: Mapping[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The update with what earlier ones left out, and what this one will leave out.

    Error feedback (Seide et al. 2014; Stich, Cordonnier, Jaggi 2018, algorithm 1, with the memory m):
        p_t = d_t + m_t,   sent: top_k(p_t),   m_(t+1) = p_t - top_k(p_t)

    Args:
        tensors: the update; d_t are those of `trained`.
        kept: m_t as `rest/<name>`, where the client has an update that counted.
    """
    fed, rest = dict(tensors), {}
    for name in trained:
        tensor = tensors[name].detach().cpu()
        before = kept.get(REST + name)
        fed[name] = tensor if before is None else tensor + before
        _, dtype, shape, data = row_of(name, fed[name])
        form = Form(name, dtype, shape)
        left = topk.left_out(form, stored(form, data), spec)
        rest[REST + name] = torch.from_numpy(left.view("u1")).view(fed[name].dtype).view(shape)
    return fed, rest


class Chance:
    """Uniform uint32 from a seed: the generator's raw output, which numpy keeps the same from version to version."""

    def __init__(self, seed: int) -> None:
        self._bits = PCG64(seed)

    def __call__(self, count: int) -> Array:
        return self._bits.random_raw((count + 1) // 2).astype("<u8").view("<u4")[:count]
