"""Taking an update in: read whole, once; it counts as what it is, or is rejected with the reason."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..broker.messages import METRICS_MAX
from ..storage.digests import DIGEST_PATTERN, digest_file, kind_of
from ..storage.documents import Entry
from ..storage.errors import ObjectDamaged
from ..storage.header_json import Known
from ..storage.job import JobSpec
from ..storage.keys import UpdateName
from ..storage.rules import TERM_MAX, Keeps, Rule, counts_examples, rule_of
from ..storage.tensors import Header, header_of, read_header, read_small, shown
from .layout import read_layout
from .ports import UpdateRejected
from .small import SMALL_BYTES, Small
from .unpacking import bytes_max, unpack
from .values import look_through

EXAMPLES_MAX = 10**12  # more than anybody holds; a count above it would drown every other client
INIT_BYTES_MAX = 1 << 37  # of the initial model, whose size nothing tells beforehand: 34 billion float32
FACT_CHARACTERS_MAX = 255
METRICS_CHARACTERS_MAX = 65_536

_FACTS = ("torch", "cpu", "threads", "seconds")
_DIGEST = re.compile(DIGEST_PATTERN)
_COUNT = re.compile(r"[0-9]{1,16}\Z")


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
    small: Small | None = None  # the update itself, where it is small


def entry_of(name: UpdateName, found: Examined) -> Entry:
    """What a manifest says of an update that counts."""
    return Entry(
        client=name.client,
        source=name.source,
        attempt=name.attempt,
        digest=found.digest,
        size=found.size,
        examples=found.examples,
        metrics=found.metrics,
        facts=found.facts,
        terms=found.terms,
        state=found.state,
        state_bytes=found.state_bytes,
        parcel=name.parcel or None,
    )


def place_of(spec: JobSpec, round_number: int, entry: Entry) -> str:
    """Where an update that a client gave in this round lies; see `UpdateName.place`."""
    return UpdateName(spec.job, round_number, entry.source, entry.client, entry.attempt, entry.parcel or "").place


def max_bytes(base: Header | None, spec: JobSpec) -> int:
    """The most bytes that an update to this base may have: what is larger need not be fetched."""
    return INIT_BYTES_MAX if base is None else bytes_max(base, spec)


def examine(
    update: Path | memoryview,
    name: UpdateName,
    kind: Literal["init", "train"],
    spec: JobSpec,
    base: Header | None,
    digest: str | None,
) -> Examined:
    """Read an update whole and say what it is.

    Args:
        update: the file, ours, which nobody changes meanwhile; or its bytes.
        name: what its key says; the file must say the same.
        kind: init for the first model of a job, whose layout nothing tells beforehand.
        base: the header of the checkpoint that the round started from; None for init.
        digest: what the completion announced; None where the update was found by listing.

    Raises:
        UpdateRejected: it does not count; the words name the tensor or the field.
    """
    try:
        header, data = read_small(update, SMALL_BYTES) if isinstance(update, Path) else (header_of(update), update)
        _check_named(header.metadata, name, kind)
        _check_layout(header, base, rule_of(spec))
    except ObjectDamaged as error:
        raise UpdateRejected(str(error)) from None
    examples = _examples(header.metadata, kind)
    metrics = _metrics(header.metadata)
    terms, state, state_bytes = ({}, None, 0) if kind == "init" else _said(header.metadata, rule_of(spec))
    weight = examples if counts_examples(spec) else 1
    found, complaint = look_through(update if data is None else data, header, max(1, weight), kind_of(digest))
    _check_digest(found, digest)
    if complaint:
        raise UpdateRejected(complaint)
    small = None if data is None else Small(header, data)
    return Examined(found, header.size, examples, metrics, _facts(header.metadata), terms, state, state_bytes, small)


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
        found = digest_file(path, kind_of(digest))
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


def _check_layout(header: Header, base: Header | None, rule: Rule) -> None:
    seen = (_form(header), None if base is None else _form(base), rule.sends, rule.keeps)
    if header.form and _fitting.get(seen):
        return
    layout = read_layout(header, checkpoint=False)
    if base is None and not layout.trainable:
        raise UpdateRejected("the model has no trainable tensor")
    if layout.local and rule.keeps != "personal":
        raise UpdateRejected("metadata: local names tensors, and this job keeps none with its clients")
    if base is not None:
        difference = layout.same_as(read_layout(base, checkpoint=True).of_update(rule.sends))
        if difference:
            raise UpdateRejected(difference)
    if header.form and (base is None or base.form):
        _fitting.keep(seen, True)


_Form = tuple[str, str | None, str | None, str | None]
_fitting: Known[tuple[_Form, _Form | None, tuple[str, ...], Keeps], bool] = Known()


def _form(header: Header) -> _Form:
    """All of a header that its layout follows from."""
    said = header.metadata.get
    return header.form, said("trainable"), said("tied"), said("local")


def _said(metadata: Mapping[str, str], rule: Rule) -> tuple[dict[str, float], str | None, int]:
    """What the algorithm needs from each client: the terms of its formula; digest and size of what is kept."""
    numbers = _metrics(metadata, "terms") if rule.terms else {}
    for name, least in rule.terms.items():
        if not least <= numbers.get(name, -1.0) <= TERM_MAX:
            raise UpdateRejected(f"metadata: terms has {name} {numbers.get(name)}, not {least:g} to {TERM_MAX:g}")
    if rule.keeps == "nothing":
        return {name: numbers[name] for name in rule.terms}, None, 0
    state, size = metadata.get("state", ""), metadata.get("state_bytes", "")
    if not _DIGEST.fullmatch(state) or not _COUNT.match(size):
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
