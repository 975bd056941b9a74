"""One pass over the updates of a group: mapped and added by the compiled loop, or read and added by torch's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

import torch

from ..storage.files import OpenFile, reading
from ..storage.pages import let_go, map_pages
from ..storage.tensors import DTYPES, Header
from ..storage.torch_tensors import TORCH_DTYPES
from . import kernel
from .blocks import add_blocks
from .runs import BLOCK_ITEMS, Run
from .small import Small
from .threads import own_buffer

MAPPED_BYTES = 1 << 20  # of each update: 8 MiB a thread, which count as ours until they are let go of


class Add(Protocol):
    """Adds a run of each update of the group to its place in the sum; several threads at a time."""

    def __call__(
        self, run: Run, total: torch.Tensor, weights: Sequence[float], *, clear: bool, divisor: float | None
    ) -> None: ...


@contextmanager
def one_pass(sources: Sequence[Path | Small], headers: Sequence[Header], runs: Sequence[Run]) -> Iterator[Add]:
    """Open the updates of a group, whose tensors lie alike in these runs.

    Raises:
        ObjectMissing, StorageUnavailable: of a file; also what it gives does.
    """
    paths = [source for source in sources if isinstance(source, Path)]
    with ExitStack() as stack:
        if len(paths) == len(sources) and all(kernel.takes(run.total[0], TORCH_DTYPES[run.dtype]) for run in runs):
            yield _mapped(paths, headers)
        else:
            yield _read([stack.enter_context(read_from(source)) for source in sources], headers)


def read_from(source: Path | Small) -> AbstractContextManager[OpenFile | Small]:
    """Raises ObjectMissing, StorageUnavailable."""
    return nullcontext(source) if isinstance(source, Small) else reading(source)


def _mapped(paths: Sequence[Path], headers: Sequence[Header]) -> Add:
    """Pages are read where they are: a copy of them took more than the sum."""
    pages = [map_pages(path, header.size) for path, header in zip(paths, headers, strict=True)]

    def add(run: Run, total: torch.Tensor, weights: Sequence[float], *, clear: bool, divisor: float | None) -> None:
        width, dtype = DTYPES[run.dtype], TORCH_DTYPES[run.dtype]
        items = MAPPED_BYTES // width
        for number, block in enumerate(torch.split(total, items)):
            places = [header.data_start + run.start + number * MAPPED_BYTES for header in headers]
            parts = [
                torch.frombuffer(file, dtype=dtype, count=len(block), offset=place)
                for file, place in zip(pages, places, strict=True)
            ]
            kernel.add(block, parts, weights, clear=clear, divisor=divisor)
            for file, place in zip(pages, places, strict=True):
                let_go(file, place, len(block) * width)

    return add


def _read(files: Sequence[OpenFile | Small], headers: Sequence[Header]) -> Add:
    """Into each thread's own memory, where mapped pages would cost more than the copy: torch adds one at a time."""

    def add(run: Run, total: torch.Tensor, weights: Sequence[float], *, clear: bool, divisor: float | None) -> None:
        width = DTYPES[run.dtype]
        buffer = own_buffer(min(BLOCK_ITEMS, run.items) * width)
        data, items = buffer.numpy().data, buffer.view(TORCH_DTYPES[run.dtype])

        def part(one: int, number: int) -> torch.Tensor:
            first = number * BLOCK_ITEMS
            count = min(run.items - first, BLOCK_ITEMS)
            files[one].read_into(data[: count * width], headers[one].data_start + run.start + first * width)
            return items if count == len(items) else items[:count]

        add_blocks(total, BLOCK_ITEMS, part, weights, clear=clear, divisor=divisor)

    return add
