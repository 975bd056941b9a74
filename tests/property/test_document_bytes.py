"""Whatever bytes stand where a document should, they are read or damaged: never a crash, never another error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warren.storage import keys
from warren.storage.documents import (
    Base,
    ClientResult,
    Control,
    Entry,
    Evaluation,
    Manifest,
    Plan,
    read_document,
    write_document,
)
from warren.storage.errors import ObjectDamaged
from warren.storage.job import JobSpec, make_spec, read_spec, write_spec

KINDS: list[type[Any]] = [Plan, Manifest, Control, Evaluation]
DIGEST = "ab" * 32
BASE = Base(key="jobs/j/checkpoints/round-00001.safetensors", digest=DIGEST, size=10)
ENTRY = Entry(
    client="c000", source="pool.default", attempt="a1", digest=DIGEST, size=9, examples=5, metrics={"loss": 0.5}
)
WHOLE = [
    write_document(Plan(round=2, clients=("c000", "c001"), wanted=2, quorum=1, base=BASE)),
    write_document(Manifest(job="j", round=2, base=BASE, entries=(ENTRY,), failed={"c001": "broke"})),
    write_document(Control(command="pause", reason="by hand")),
    write_document(Evaluation(job="j", round=2, clients={"c000": ClientResult(examples=3, metrics={"loss": 1.0})})),
]
SPEC = make_spec({"job": "j", "task": {"name": "t", "file": "t.py", "digest": DIGEST}, "params": {"hidden": 3}})

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
)
fields = st.sampled_from(sorted({name for kind in [*KINDS, JobSpec] for name in kind.model_fields}))


def read_or_damaged(kind: type[Any], body: bytes) -> None:
    try:
        found = read_document(kind, body, "the key")
    except ObjectDamaged as error:
        found = str(error)
    assert isinstance(found, kind) or found.startswith("the key: ")


def read_or_damaged_spec(body: bytes) -> None:
    found: JobSpec | str
    try:
        found = read_spec(body)
    except ObjectDamaged as error:
        found = str(error)
    assert isinstance(found, JobSpec) or found.startswith("job.json: ")


@given(st.sampled_from(KINDS), st.binary(max_size=400))
def test_any_bytes_are_a_document_or_damaged(kind: type[Any], body: bytes) -> None:
    read_or_damaged(kind, body)
    read_or_damaged_spec(body)


@given(st.sampled_from(KINDS), st.sampled_from(WHOLE), st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_a_document_with_bytes_overwritten_is_read_or_damaged(
    kind: type[Any], whole: bytes, place: int, patch: bytes
) -> None:
    at = place % len(whole)
    read_or_damaged(kind, whole[:at] + patch + whole[at + len(patch) :])


@given(st.sampled_from(range(len(KINDS))), st.dictionaries(fields, values, max_size=3))
def test_a_document_with_other_values_is_read_or_damaged(which: int, changes: dict[str, Any]) -> None:
    read_or_damaged(KINDS[which], json.dumps(json.loads(WHOLE[which]) | changes).encode())


@given(st.dictionaries(fields, values, max_size=3))
def test_a_spec_with_other_values_is_read_or_damaged(changes: dict[str, Any]) -> None:
    read_or_damaged_spec(json.dumps(json.loads(write_spec(SPEC)) | changes).encode())


KEYS = st.from_regex(r"updates/j/00001/pool\.p/[ab_.]{0,30}\.safetensors", fullmatch=True)


@given(st.text(max_size=120) | st.from_regex(r"updates/.{0,60}\.safetensors") | KEYS)
def test_any_key_is_that_of_updates_or_of_none_and_the_way_back_agrees(key: str) -> None:
    names = keys.read_updates(key)
    assert {keys.split_place(name.place)[0] for name in names} <= {key}
    assert len(names) == 1 or keys.read_update(key) is None
    if len(names) > 1:
        assert names[0].parcel == keys.parcel_name((name.client, name.attempt) for name in names)


@pytest.mark.parametrize("depth", [10, 100_000])
def test_any_depth_of_nesting_is_damaged(depth: int) -> None:
    for kind in KINDS:
        with pytest.raises(ObjectDamaged):
            read_document(kind, b"[" * depth + b"]" * depth, "the key")
