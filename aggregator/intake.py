"""Taking an update in: read whole, once; it counts as what it is, or is rejected with the reason."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from blake3 import blake3

from ..broker.messages import METRICS_MAX
from ..storage.errors import ObjectDamaged
from ..storage.job import JobSpec
from ..storage.keys import UpdateName
from ..storage.pages import let_go, map_pages
from ..storage.rules import TERM_MAX, Rule, counts_examples, rule_of
from ..storage.tensors import FLOATING, Header, TensorSpec, digest_file, read_header, shown
from .layout import read_layout
from .ports import UpdateRejected
from .unpacking import bytes_max, unpack

EXAMPLES_MAX = 10**12  # more than anybody holds; a count above it would drown every other client
WEIGHTED_MAX = 2.0**100  # of |value| x weight: 100,000 clients of it still add up within float32
INIT_BYTES_MAX = 1 << 37  # of the initial model, whose size nothing tells beforehand: 34 billion float32
FACT_CHARACTERS_MAX = 255
METRICS_CHARACTERS_MAX = 65_536
WINDOW_BYTES = 32 << 20  # then unmapped: an update does not stay in our memory
BLOCK_BYTES = 1 << 20  # digested and checked while it is in cache

_FACTS = ("torch", "cpu", "threads", "seconds")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_COUNT = re.compile(r"[0-9]{1,16}\Z")


class _Bits(NamedTuple):
    """How a floating dtype lies in the integer of its size."""

    integer: np.dtype[np.signedinteger[Any]]
    magnitude: np.signedinteger[Any]  # all bits but the sign
    infinite: int  # the bits of infinity
    lost: int  # bits that the readable format has and this one lacks
    formats: tuple[str, str]  # struct's, of the integer and of the number that is read from it

    def number(self, bits: int) -> float:
        whole, number = self.formats
        return float(struct.unpack(number, struct.pack(whole, bits << self.lost))[0])


_BITS = {
    "F64": _Bits(np.dtype("<i8"), np.int64((1 << 63) - 1), 0x7FF0_0000_0000_0000, 0, ("<Q", "<d")),
    "F32": _Bits(np.dtype("<i4"), np.int32((1 << 31) - 1), 0x7F80_0000, 0, ("<I", "<f")),
    "BF16": _Bits(np.dtype("<i2"), np.int16((1 << 15) - 1), 0x7F80, 16, ("<I", "<f")),
    "F16": _Bits(np.dtype("<i2"), np.int16((1 << 15) - 1), 0x7C00, 0, ("<H", "<e")),
}


@dataclass(frozen=True, slots=True)
class Examined:
    """An update that counts, and what its file says of itself."""

    digest: str
    size: int
    examples: int
    metrics: dict[str, float]
    facts: dict[str, str]  # torch build, CPU capability, threads, seconds
    terms: dict[str, float]
    state: str | None = None  # the digest of what the client keeps if this counts
    state_bytes: int = 0


def max_bytes(base: Header | None, spec: JobSpec) -> int:
    """The most bytes that an update to this base may have: what is larger need not be fetched."""
    return INIT_BYTES_MAX if base is None else bytes_max(base, spec)


def examine(
    path: Path,
    name: UpdateName,
    kind: Literal["init", "train"],
    spec: JobSpec,
    base: Header | None,
    digest: str | None,
) -> Examined:
    """Read an update whole and say what it is.

    Args:
        path: the file, ours, which nobody changes meanwhile.
        name: what its key says; the file must say the same.
        kind: init for the first model of a job, whose layout nothing tells beforehand.
        base: the header of the checkpoint that the round started from; None for init.
        digest: what the completion announced; None where the update was found by listing.

    Raises:
        UpdateRejected: it does not count; the words name the tensor or the field.
    """
    try:
        header = read_header(path)
        _check_named(header.metadata, name, kind)
        _check_layout(header, base, spec)
    except ObjectDamaged as error:
        raise UpdateRejected(str(error)) from None
    examples = _examples(header.metadata, kind)
    metrics = _metrics(header.metadata)
    terms, state, state_bytes = ({}, None, 0) if kind == "init" else _said(header.metadata, rule_of(spec))
    weight = examples if counts_examples(spec) else 1
    found, complaint = _read(path, header, max(1, weight))
    _check_digest(found, digest)
    if complaint:
        raise UpdateRejected(complaint)
    return Examined(found, header.size, examples, metrics, _facts(header.metadata), terms, state, state_bytes)


def examine_packed(
    path: Path, name: UpdateName, spec: JobSpec, base: Header, digest: str | None, out: Path
) -> Examined:
    """As `examine`, of a packed update: its plain file is written to `out` and read whole.

    Raises:
        UpdateRejected: also where it does not hold what the model's tensors are packed to.
    """
    try:
        header = read_header(path)
        _check_named(header.metadata, name, "train")
        found = digest_file(path)
        _check_digest(found, digest)
        unpack(path, header, spec, base, out)
        return replace(examine(out, name, "train", spec, base, None), digest=found, size=header.size)
    except ObjectDamaged as error:
        raise UpdateRejected(str(error)) from None
    except UpdateRejected:
        out.unlink(missing_ok=True)
        raise


def _check_digest(found: str, announced: str | None) -> None:
    if announced is not None and found != announced:
        raise UpdateRejected(
            f"digest {found[:12]}… is not the announced {announced[:12]}…: the bytes changed on the way"
        )


def _check_named(metadata: Mapping[str, str], name: UpdateName, kind: str) -> None:
    expected = {
        "warren": "1",
        "job": name.job,
        "round": str(name.round),
        "kind": kind,
        "client": name.client,
        "attempt": name.attempt,
    }
    for key, value in expected.items():
        if metadata.get(key) != value:
            seen = shown(metadata[key]) if key in metadata else "nothing"
            raise UpdateRejected(f"metadata: {key} says {seen}, the key {value!r}")


def _check_layout(header: Header, base: Header | None, spec: JobSpec) -> None:
    layout = read_layout(header, checkpoint=False)
    if base is None and not layout.trainable:
        raise UpdateRejected("the model has no trainable tensor")
    if layout.local and rule_of(spec).keeps != "personal":
        raise UpdateRejected("metadata: local names tensors, and this job keeps none with its clients")
    sent = rule_of(spec).sends
    difference = layout.same_as(read_layout(base, checkpoint=True).of_update(sent)) if base is not None else None
    if difference:
        raise UpdateRejected(difference)


def _said(metadata: Mapping[str, str], rule: Rule) -> tuple[dict[str, float], str | None, int]:
    """What the algorithm needs from each client: the terms of its formula; digest and size of what is kept."""
    numbers = _metrics(metadata, "terms") if rule.terms else {}
    for name, least in rule.terms.items():
        if not least <= numbers.get(name, -1.0) <= TERM_MAX:
            raise UpdateRejected(f"metadata: terms has {name} {numbers.get(name)}, not {least:g} to {TERM_MAX:g}")
    if rule.keeps == "nothing":
        return {name: numbers[name] for name in rule.terms}, None, 0
    state, size = metadata.get("state", ""), metadata.get("state_bytes", "")
    if not _DIGEST.match(state) or not _COUNT.match(size):
        raise UpdateRejected("metadata: no digest and size of what the client keeps with this update")
    return {name: numbers[name] for name in rule.terms}, state, int(size)


def _examples(metadata: Mapping[str, str], kind: str) -> int:
    text = metadata.get("examples", "")
    least = 0 if kind == "init" else 1
    if not _COUNT.match(text) or not least <= int(text) <= EXAMPLES_MAX:
        raise UpdateRejected(f"metadata: examples is {shown(text)}, not a count from {least} to {EXAMPLES_MAX}")
    return int(text)


def _metrics(metadata: Mapping[str, str], field: str = "metrics") -> dict[str, float]:
    """Up to METRICS_MAX finite numbers; what is not finite is dropped, since nothing can be averaged with it."""
    text = metadata.get(field, "{}")
    try:
        fields = json.loads(text) if len(text) <= METRICS_CHARACTERS_MAX else None
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise UpdateRejected(f"metadata: {field} is not a map of numbers, or a very long one")
    finite = {key: number for key, value in sorted(fields.items()) if (number := _finite(value)) is not None}
    return {key: finite[key] for key in list(finite)[:METRICS_MAX] if len(key) <= 63}


def _finite(value: Any) -> float | None:
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _facts(metadata: Mapping[str, str]) -> dict[str, str]:
    return {key: metadata[key][:FACT_CHARACTERS_MAX] for key in _FACTS if key in metadata}


def _read(path: Path, header: Header, weight: int) -> tuple[str, str | None]:
    """One pass over the file: its digest, and what is wrong with its values, if anything is."""
    mapped = map_pages(path, header.size)
    pages = memoryview(mapped)
    hasher = blake3(max_threads=1)
    hasher.update(pages[: header.data_start])
    complaint: str | None = None
    for tensor in header.tensors.values():  # in the order of their bytes, without gaps: read_header saw to it
        end = header.data_start + tensor.end
        for start in range(header.data_start + tensor.start, end, BLOCK_BYTES):
            block = pages[start : min(start + BLOCK_BYTES, end)]
            hasher.update(block)
            complaint = complaint or _complaint(block, tensor, weight)
            if start // WINDOW_BYTES != (start + len(block)) // WINDOW_BYTES:
                let_go(mapped, start // WINDOW_BYTES * WINDOW_BYTES, WINDOW_BYTES)
    return hasher.hexdigest(), complaint


def _complaint(block: memoryview, tensor: TensorSpec, weight: int) -> str | None:
    """What is wrong with some values of a tensor. `block`: whole items."""
    if tensor.dtype == "BOOL":
        odd = np.frombuffer(block, np.uint8).max() > 1
        return f"tensor {shown(tensor.name)} holds bytes that are no truth values" if odd else None
    if tensor.dtype not in FLOATING:
        return None
    # Without the sign bit, the bits of a larger magnitude are the larger integer, infinity above all numbers
    # and NaN above it: one rule for every dtype, and numpy has no bfloat16. Not torch: its threads wait for
    # each other at every block, 20 times slower where trainers keep the cores busy.
    form = _BITS[tensor.dtype]
    most = int((np.frombuffer(block, form.integer) & form.magnitude).max())
    if most >= form.infinite:
        return f"tensor {shown(tensor.name)} holds {'NaN' if most > form.infinite else 'an infinite value'}"
    largest = form.number(most)
    if largest * weight > WEIGHTED_MAX:
        return f"tensor {shown(tensor.name)} holds {largest:.3g}, too large to be averaged (weight {weight})"
    return None
