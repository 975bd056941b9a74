"""From an update's tensors to the smaller ones that travel, and back to a plain file.

The reader derives every name, dtype, shape and size from the model's own layout and the job's settings;
what the file says is only compared with that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Literal

from ..compress import CompressSpec
from ..errors import ObjectDamaged
from ..pages import map_pages
from ..tensors import Header, TensorSpec, Written, shown, write_each
from . import cast, frames, int8, topk
from .forms import Array, Form, stored
from .int8 import Draw

Row = tuple[str, str, tuple[int, ...], memoryview | bytes]
HEADER_BYTES_MORE = 1 << 20


def pack(spec: CompressSpec, dense: Form, data: memoryview | bytes, *, trained: bool, draw: Draw) -> list[Row]:
    """One tensor as the rows of the file that travels.

    Args:
        spec: the job's settings.
        dense: the tensor.
        data: its bytes; read only.
        trained: whether it is a trained one; others are only compressed without loss.
        draw: so many uniform uint32 from the client's generator of this round.
    """
    forms = packed_forms(spec, dense, trained=trained)
    method = spec.to if trained else "none"
    parts = (
        [memoryview(data)] if method == "none" else [_bytes(part) for part in _encode(method, spec, dense, data, draw)]
    )
    if spec.zstd:
        return [_framed(form, part, spec.zstd) for form, part in zip(forms, parts, strict=True)]
    return [(form.name, form.dtype, form.shape, part) for form, part in zip(forms, parts, strict=True)]


def unpack_file(
    path: Path, header: Header, spec: CompressSpec, model: Iterable[Form], trained: Collection[str], out: Path
) -> Written:
    """Write the plain file that a packed one stands for: the same bytes each time.

    Args:
        path: the packed file, which nobody changes meanwhile.
        header: its header.
        spec: the job's settings.
        model: every tensor that the plain file holds.
        trained: names of those that are trained.
        out: the file to write, with the packed file's metadata.

    Raises:
        ObjectDamaged: it does not hold what the model's tensors are packed to, or holds nonsense; named.
    """
    forms = {form.name: form for form in model}
    parts = {name: packed_forms(spec, form, trained=name in trained) for name, form in forms.items()}
    _check(header.tensors, parts, spec)
    pages = memoryview(map_pages(path, header.size))

    def made(name: str) -> memoryview:
        pieces = [_content(pages, header, form, spec) for form in parts[name]]
        if spec.to == "none" or name not in trained:
            return memoryview(pieces[0])
        arrays = tuple(stored(form, piece) for form, piece in zip(parts[name], pieces, strict=True))
        return _bytes(_decode(spec.to, spec, forms[name], arrays))

    rows = [(form.name, form.dtype, form.shape) for form in forms.values()]
    return write_each(out, rows, made, header.metadata)


def packed_forms(spec: CompressSpec, dense: Form, *, trained: bool) -> tuple[Form, ...]:
    """What a tensor is packed to, before zstd."""
    if spec.to == "none" or not trained:
        return (dense,)
    return {"int8": int8.forms, "topk": topk.forms}.get(spec.to, cast.forms)(dense, spec)


def packed_bytes_max(spec: CompressSpec, model: Iterable[Form], trained: Collection[str], header_bytes: int) -> int:
    """The most bytes of a packed file of this model, whose plain header has so many bytes."""
    parts = [part for form in model for part in packed_forms(spec, form, trained=form.name in trained)]
    return 3 * header_bytes + HEADER_BYTES_MORE + sum(frames.bound(part.size) for part in parts)


def _encode(
    method: Literal["fp16", "bf16", "int8", "topk"],
    spec: CompressSpec,
    dense: Form,
    data: memoryview | bytes,
    draw: Draw,
) -> tuple[Array, ...]:
    items = stored(dense, data)
    if method == "int8":
        return int8.encode(dense, items, spec, draw)
    return topk.encode(dense, items, spec) if method == "topk" else cast.encode(dense, items, spec)


def _decode(
    method: Literal["fp16", "bf16", "int8", "topk"], spec: CompressSpec, dense: Form, parts: tuple[Array, ...]
) -> Array:
    if not dense.items:
        return stored(dense, b"")
    return {"int8": int8.decode, "topk": topk.decode}.get(method, cast.decode)(dense, parts, spec)


def _framed(form: Form, data: memoryview, level: int) -> Row:
    frame = frames.compressed(data, level)
    return form.name, "U8", (len(frame),), frame


def _content(pages: memoryview, header: Header, form: Form, spec: CompressSpec) -> memoryview | bytes:
    place = header.tensors[form.name]
    data = pages[header.data_start + place.start : header.data_start + place.end]
    if not spec.zstd:
        return data
    try:
        return frames.content(data, form.size)
    except ObjectDamaged as error:
        raise ObjectDamaged(f"tensor {shown(form.name)}: {error}") from None


def _check(tensors: Mapping[str, TensorSpec], parts: Mapping[str, tuple[Form, ...]], spec: CompressSpec) -> None:
    """Whether the file holds these tensors, in these forms, and no others."""
    expected = {form.name: form for several in parts.values() for form in several}
    if len(expected) != sum(map(len, parts.values())):
        raise ObjectDamaged("the model has a tensor with the name of another one's scales or steps")
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors:
            raise ObjectDamaged(f"tensor {shown(name)} is missing")
        if name not in expected:
            raise ObjectDamaged(f"tensor {shown(name)} does not belong to an update of this job")
        form, there = expected[name], tensors[name]
        right = there.dtype == "U8" and len(there.shape) == 1 and there.shape[0] <= frames.bound(form.size)
        if not (right if spec.zstd else (there.dtype, there.shape) == (form.dtype, form.shape)):
            wanted = "a zstd frame" if spec.zstd else f"{form.dtype} {list(form.shape)}"
            raise ObjectDamaged(f"tensor {shown(name)} is {there.dtype} {list(there.shape)}, not {wanted}"[:300])


def _bytes(items: Array) -> memoryview:
    return items.data.cast("B") if items.size else memoryview(b"")
