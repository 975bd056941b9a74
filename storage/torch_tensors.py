"""Torch's side of safetensors files: mapped without a copy, written straight from the tensors' memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path

import torch

from .digests import Digest, lasting
from .files import making, rewriting
from .pages import map_pages
from .tensors import Form, Header, TensorSpec, Written, canonical, header_bytes, read_header, write_blocks, write_file
from .torch_staging import CUDA, Link, to_host

TORCH_DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
DTYPE_NAMES = {dtype: name for name, dtype in TORCH_DTYPES.items()}


def map_bytes(path: Path, size: int) -> torch.Tensor:
    """As `map_pages`, as a (size,) uint8 tensor that keeps the pages while it lives."""
    return torch.frombuffer(map_pages(path, size), dtype=torch.uint8)


def map_file(path: Path, header: Header | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a file, on its mapped pages: nothing is read before it is used, nothing is copied.

    What is written to them stays in this process, the file does not change. It must not shrink meanwhile.

    Raises:
        ObjectDamaged, ObjectMissing, StorageUnavailable.
    """
    header = header or read_header(path)
    pages = map_bytes(path, header.size)
    return {name: _view(pages, header.data_start, tensor) for name, tensor in header.tensors.items()}


def save(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str],
    digest: Digest = lasting,
    link: Link = CUDA,
    *,
    over: bool = False,
    wrote: Callable[[int, int], None] | None = None,
) -> Written:
    """Write tensors as a canonical file, from their own memory where they are contiguous and on the CPU.

    Those that the link carries come to the host in blocks, each copied while the one before it is written.

    Args:
        over: write over the pages of what has the name; see `files.rewriting`.
        wrote: told how many bytes it will have and how many are written: none, once the file is there, then more.

    Raises:
        TypeError: a dtype that a file can't hold; the words name the tensor.
        StorageUnavailable: the disk is full or refuses.
    """
    if wrote is None and not any(map(link.carries, tensors.values())):
        rows = [row_of(name, tensor) for name, tensor in tensors.items()]
        return write_file(path, rows, metadata, digest, over=over)
    header, ordered = _header_and_order(tensors, metadata)
    size = len(header) + sum(tensor.nbytes for tensor in ordered)
    with (rewriting if over else making)(path) as file, closing(to_host(ordered, bytes_of, link)) as blocks:
        tell = None if wrote is None else partial(wrote, size)
        return write_blocks(file, chain((memoryview(header),), blocks), digest, tell)


def held(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str], link: Link = CUDA) -> bytes:
    """The bytes of the file that `save` writes. Raises TypeError as that does."""
    if any(map(link.carries, tensors.values())):
        header, distant = _header_and_order(tensors, metadata)
        return b"".join((header, *map(bytes, to_host(distant, bytes_of, link))))
    rows = {name: row_of(name, tensor) for name, tensor in tensors.items()}
    ordered = canonical(row[:3] for row in rows.values())
    return b"".join((header_bytes(ordered, metadata), *(rows[name][3] for name, *_ in ordered)))


def _header_and_order(
    tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> tuple[bytes, list[torch.Tensor]]:
    """What comes before the data of a canonical file, and the tensors in its order. Raises TypeError as `save`."""
    ordered = canonical(form_of(name, tensor) for name, tensor in tensors.items())
    return header_bytes(ordered, metadata), [tensors[name] for name, *_ in ordered]


def row_of(name: str, tensor: torch.Tensor) -> tuple[str, str, tuple[int, ...], memoryview]:
    """Name, dtype, shape and bytes as `write_file` takes them. Raises TypeError: no file can hold the dtype."""
    return (*form_of(name, tensor), bytes_of(tensor))


def form_of(name: str, tensor: torch.Tensor) -> Form:
    """Name, dtype and shape. Raises TypeError: no file can hold the dtype."""
    if tensor.dtype not in DTYPE_NAMES:
        raise TypeError(f"{name}: {tensor.dtype} can't be stored, only {', '.join(TORCH_DTYPES)}")
    return name, DTYPE_NAMES[tensor.dtype], tuple(tensor.shape)


def _view(pages: torch.Tensor, data_start: int, spec: TensorSpec) -> torch.Tensor:
    dtype = TORCH_DTYPES[spec.dtype]
    start = data_start + spec.start
    part = pages[start : data_start + spec.end]
    if start % dtype.itemsize:  # another writer's file may leave a tensor unaligned
        part = part.clone()
    return part.view(dtype).view(spec.shape) if part.numel() else torch.empty(spec.shape, dtype=dtype)


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """A tensor's own memory where it is contiguous and on the CPU, else that of a copy."""
    held = tensor.detach().cpu().contiguous()
    if not held.numel():
        return memoryview(b"")
    if held.dtype is torch.bfloat16:  # numpy has none
        held = held.view(torch.int16)
    return held.numpy().data.cast("B")
