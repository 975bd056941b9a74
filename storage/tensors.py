"""Safetensors files without torch: headers read with no trust in them, canonical files written."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedWriter
from math import prod
from pathlib import Path
from typing import Any

from .digests import BLOCK_BYTES, Digest, lasting
from .errors import ObjectDamaged
from .files import making, opened, replacing, rewriting
from .header_json import Known, load, split

DTYPES: dict[str, int] = {
    "F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
FLOATING = frozenset(("F64", "F32", "F16", "BF16"))

HEADER_BYTES_MAX = 64 << 20
TENSORS_MAX = 65_536
DIMENSIONS_MAX = 64  # torch's own limit
NAME_CHARACTERS_MAX = 1024
METADATA_MAX = 256
FILE_BYTES_MAX = 1 << 48
TOLD_BYTES = 8 << 20  # of a file that is written, between two words on how far it is
FORMS_KEPT = 8  # texts of headers that were written: an update's and a checkpoint's of the models at work here

Form = tuple[str, str, tuple[int, ...]]  # name, dtype, shape

_LENGTH = struct.Struct("<Q")
_compact = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of a file: [start, end) are byte offsets in the data section."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says it holds, checked against its size. `tensors` stand in the order of their bytes."""

    metadata: dict[str, str]
    tensors: dict[str, TensorSpec]  # may be shared by headers: not to be changed
    data_start: int  # bytes before the data section
    size: int  # bytes of the whole file
    form: str = ""  # the text that `tensors` was read from, where it is remembered: equal forms, equal tensors


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written: its bytes, and their digest in hex."""

    size: int
    digest: str


def read_header(path: Path) -> Header:
    """Read and check a file's header; its data is not read.

    Raises:
        ObjectDamaged: not a whole safetensors file, or one over our limits; the words say where.
        ObjectMissing: no such file.
    """
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        text = file.read(header_length(file.read(_LENGTH.size), size))
    return parse_header(text, size)


def read_small(path: Path, limit: int) -> tuple[Header, memoryview | None]:
    """As `read_header`, with the whole file's bytes where it has no more than `limit`. Raises as that does."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = bytearray(size) if size <= limit else None
        count = file.readinto(data) if data is not None else size
    if data is None:
        return read_header(path), None
    if count != size:
        raise ObjectDamaged(f"file of {size} bytes became shorter while it was read")
    whole = memoryview(data).toreadonly()
    return header_of(whole), whole


def header_of(data: memoryview) -> Header:
    """As `read_header`, of a whole file in memory. Raises ObjectDamaged."""
    start = _LENGTH.size + header_length(data, len(data))
    return parse_header(bytes(data[_LENGTH.size : start]), len(data))


def header_length(first: bytes | bytearray | memoryview, size: int) -> int:
    """How many bytes of header follow the first 8 of a file of `size` bytes. Raises ObjectDamaged."""
    if len(first) < _LENGTH.size or size < _LENGTH.size + 2:
        raise ObjectDamaged(f"file of {size} bytes is too short for safetensors")
    (length,) = _LENGTH.unpack(first[: _LENGTH.size])
    if length > HEADER_BYTES_MAX:
        raise ObjectDamaged(f"header of {length} bytes is over the limit of {HEADER_BYTES_MAX}")
    if _LENGTH.size + length > size:
        raise ObjectDamaged(f"truncated: header of {length} bytes in a file of {size}")
    return int(length)


def parse_header(text: bytes, size: int) -> Header:
    """The header from its JSON bytes, for a file of `size` bytes in all. Raises ObjectDamaged."""
    plain = b"\\u" not in text  # nothing but an escape can hold half of a surrogate pair
    parts = split(text)
    tensors = _known.get(parts[1]) if parts else None
    fields = {"__metadata__": parts[0]} if parts and tensors is not None else load(text)
    metadata = _metadata(fields.pop("__metadata__", {}), plain)
    tensors = _side_by_side(fields) if tensors is None else tensors
    data_start = _LENGTH.size + len(text)
    end = next(reversed(tensors.values())).end if tensors else 0
    if data_start + end != size:
        what = "truncated" if data_start + end > size else "bytes after the last tensor"
        raise ObjectDamaged(f"{what}: header describes {data_start + end} bytes, the file has {size}")
    if parts is None:
        return Header(metadata, tensors, data_start, size)
    return Header(metadata, _known.keep(parts[1], tensors), data_start, size, parts[1])


def _side_by_side(fields: Mapping[str, Any]) -> dict[str, TensorSpec]:
    """The tensors in the order of their bytes. Raises ObjectDamaged: also for a gap or an overlap."""
    if len(fields) > TENSORS_MAX:
        raise ObjectDamaged(f"{len(fields)} tensors are over the limit of {TENSORS_MAX}")
    tensors = sorted((_tensor(name, value) for name, value in fields.items()), key=lambda t: (t.start, t.end))
    end = 0
    for tensor in tensors:
        if tensor.start != end:
            kind = "overlaps the one before it" if tensor.start < end else "leaves a gap before it"
            raise ObjectDamaged(f"tensor {shown(tensor.name)} {kind}")
        end = tensor.end
    return {tensor.name: tensor for tensor in tensors}


def write_file(
    path: Path,
    tensors: Sequence[tuple[str, str, tuple[int, ...], memoryview | bytes]],
    metadata: Mapping[str, str],
    digest: Digest = lasting,
    *,
    over: bool = False,
) -> Written:
    """Write (name, dtype, shape, bytes) as a canonical file: equal contents give equal bytes.

    Canonical: wider items first and then by name, so that every tensor is aligned; metadata by key; compact
    JSON, padded to 8 bytes. Nobody may look at the file before this returns; the digest is made on the way.

    Raises:
        StorageUnavailable: the disk is full or refuses.
    """
    data = {name: held for name, *_, held in tensors}
    assert len(data) == len(tensors), "a name stands there twice"
    with (rewriting if over else making)(path) as file:
        ordered = canonical(tensor[:3] for tensor in tensors)
        return write_blocks(file, _buffers(ordered, data.__getitem__, metadata), digest)


def write_each(
    path: Path,
    tensors: Sequence[Form],
    data: Callable[[str], memoryview | bytes],
    metadata: Mapping[str, str],
    digest: Digest = lasting,
) -> Written:
    """As `write_file`, each tensor's bytes asked for by name when its turn comes: one at a time is held.

    Written under a temporary name and renamed.

    Raises:
        StorageUnavailable: the disk is full or refuses. What `data` raises passes, and no file is left.
    """
    with replacing(path) as file:
        return write_blocks(file, _buffers(canonical(tensors), data, metadata), digest)


def write_blocks(
    file: BufferedWriter, blocks: Iterable[memoryview], digest: Digest, wrote: Callable[[int], None] | None = None
) -> Written:
    """Write what makes up a file, each part before the next is asked for; `wrote` hears how far it is, from 0 on."""
    hasher = digest()
    size = told = 0
    if wrote is not None:
        wrote(0)
    for buffer in blocks:
        for block in _blocks(buffer):
            hasher.update(block)
            file.write(block)
            size += len(block)
            if wrote is not None and size - told >= TOLD_BYTES:
                file.flush()
                wrote(told := size)
    return Written(size, hasher.hexdigest())


def shown(name: str) -> str:
    """A peer's name as it may stand in a message: short, and with nothing that a terminal obeys."""
    return repr(name if len(name) <= 80 else name[:77] + "...")


def _buffers(
    ordered: Sequence[Form], data: Callable[[str], memoryview | bytes], metadata: Mapping[str, str]
) -> Iterator[memoryview]:
    """The header, then each tensor's bytes."""
    yield memoryview(header_bytes(ordered, metadata))
    for name, dtype, shape in ordered:
        found = data(name)
        buffer = memoryview(found).cast("B") if len(found) else memoryview(b"")
        assert len(buffer) == prod(shape) * DTYPES[dtype], f"{name}: {len(buffer)} bytes for {dtype} {shape}"
        yield buffer


def canonical(tensors: Iterable[Form]) -> list[Form]:
    """In the order of a canonical file: wider items first, then by name."""
    return sorted(tensors, key=lambda tensor: (-DTYPES[tensor[1]], tensor[0]))


def _blocks(buffer: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(buffer), BLOCK_BYTES):
        yield buffer[start : start + BLOCK_BYTES]


def header_bytes(ordered: Sequence[Form], metadata: Mapping[str, str]) -> bytes:
    """What comes before the data of a canonical file, for tensors in canonical order."""
    form = _form_text(tuple(ordered))
    if metadata:
        said = _compact({"__metadata__": dict(sorted(metadata.items()))})
        form = f"{said[:-1]},{form[1:]}" if ordered else said
    text = form.encode()
    text += b" " * (-len(text) % 8)
    return _LENGTH.pack(len(text)) + text


@lru_cache(maxsize=FORMS_KEPT)
def _form_text(ordered: tuple[Form, ...]) -> str:
    """The header without its metadata: the same for every update of a model."""
    fields: dict[str, Any] = {}
    end = 0
    for name, dtype, shape in ordered:
        start, end = end, end + prod(shape) * DTYPES[dtype]
        fields[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    return _compact(fields)


def _metadata(value: Any, plain: bool) -> dict[str, str]:
    """The metadata of a header, checked; `plain`: its text has no escapes of Unicode."""
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ObjectDamaged("metadata is not a map of strings")
    if len(value) > METADATA_MAX:
        raise ObjectDamaged(f"{len(value)} metadata fields are over the limit of {METADATA_MAX}")
    for key, text in value.items():
        if len(key) > NAME_CHARACTERS_MAX or not (plain or (_encodable(key) and _encodable(text))):
            raise ObjectDamaged(f"metadata field {shown(key)} is too long or not Unicode")
    return value


def _tensor(name: str, value: Any) -> TensorSpec:
    if not 0 < len(name) <= NAME_CHARACTERS_MAX or not _encodable(name):
        raise ObjectDamaged(f"tensor name {shown(name)} is empty, too long or not Unicode")
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise ObjectDamaged(f"tensor {shown(name)}: expected dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ObjectDamaged(f"tensor {shown(name)}: dtype {str(dtype)[:20]!r} is none of {', '.join(DTYPES)}")
    if not _counts(shape) or len(shape) > DIMENSIONS_MAX:
        raise ObjectDamaged(f"tensor {shown(name)}: shape is not a list of up to {DIMENSIONS_MAX} sizes")
    if not _counts(offsets) or len(offsets) != 2:
        raise ObjectDamaged(f"tensor {shown(name)}: data_offsets are not two positions")
    length = offsets[1] - offsets[0]
    if length != prod(shape) * DTYPES[dtype]:
        raise ObjectDamaged(f"tensor {shown(name)}: {length} bytes do not hold {dtype} of its shape")
    return TensorSpec(name, dtype, tuple(shape), offsets[0], offsets[1])


_known: Known[str, dict[str, TensorSpec]] = Known()


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < FILE_BYTES_MAX for item in value)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON lets in by its escape
        return False
    return True
