"""The same items of the same tensor from each update, read when needed: nothing of an update stays in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from ..storage.files import reading
from ..storage.tensors import DTYPES, Header, TensorSpec, read_header
from ..storage.torch_tensors import TORCH_DTYPES


@dataclass(frozen=True, slots=True)
class Piece:
    """Items [start, stop) of a tensor."""

    name: str
    start: int
    stop: int

    @property
    def items(self) -> int:
        return self.stop - self.start

    def cut(self, items: int) -> Iterator[Piece]:
        """Pieces of so many items, the last perhaps fewer; an empty piece has none."""
        for start in range(self.start, self.stop, items):
            yield Piece(self.name, start, min(start + items, self.stop))


class Source(Protocol):
    """A safetensors file, wherever it lies. Several threads may read it."""

    @property
    def header(self) -> Header: ...

    def data(self, start: int, length: int) -> bytearray:
        """Bytes [start, start + length) of the data section, to keep and change.

        Raises:
            ObjectMissing, ObjectDamaged, StorageUnavailable.
        """
        ...


class FileSource:
    """A file of ours, or of a store that is a folder."""

    def __init__(self, path: Path, header: Header | None = None) -> None:
        """Raises ObjectMissing, ObjectDamaged."""
        self.header = header or read_header(path)
        self._path = path

    def data(self, start: int, length: int) -> bytearray:
        """Not mapped, as its pages would count as memory of ours; nor kept open, as there may be thousands."""
        buffer = bytearray(length)
        with reading(self._path) as file:
            file.read_into(memoryview(buffer), self.header.data_start + start)
        return buffer


def read_piece(source: Source, piece: Piece) -> torch.Tensor:
    """The items of a piece, (items,), as they are stored."""
    spec = source.header.tensors[piece.name]
    dtype, size = TORCH_DTYPES[spec.dtype], DTYPES[spec.dtype]
    if not piece.items:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(source.data(spec.start + piece.start * size, piece.items * size), dtype=dtype)


def items_of(spec: TensorSpec) -> int:
    return (spec.end - spec.start) // DTYPES[spec.dtype]


def whole(spec: TensorSpec) -> Piece:
    """All of a tensor."""
    return Piece(spec.name, 0, items_of(spec))
