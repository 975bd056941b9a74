"""Whatever bytes a peer sends, a message is read or refused; whatever we send is read back."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from warren.broker.errors import MessageUnreadable
from warren.broker.messages import Completion, Failure, RoundJob, Submission, decode, encode

KINDS: list[type[Any]] = [Submission, RoundJob, Completion]

names = st.from_regex(r"[a-z0-9-]{1,63}", fullmatch=True)
digests = st.from_regex(r"[0-9a-f]{32}|[0-9a-f]{64}", fullmatch=True)
sources = st.from_regex(r"(site|pool)\.[a-z0-9-]{1,63}", fullmatch=True)
counts = st.integers(0, 1 << 53)
rounds = st.integers(0, 99_999)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=63)
keys = st.none() | words
kinds = st.sampled_from(["init", "train", "evaluate", "test"])
metrics = st.dictionaries(words, st.floats(allow_nan=False), max_size=8)

failures = st.builds(Failure, error=words, file=words, line=counts, id=words, text=words)
submissions = st.builds(Submission, job=names)
round_jobs = st.builds(
    RoundJob,
    job=names,
    round=rounds,
    kind=kinds,
    plan=st.integers(0, 99),
    client=names,
    index=counts,
    count=st.integers(1, 1 << 30),
    source=sources,
    base=keys,
    base_digest=st.none() | digests,
    base_bytes=counts,
    state=keys,
    publication=names,
    again=st.booleans(),
    set_aside=st.lists(names, max_size=5).map(tuple),
)
completions = st.builds(
    Completion,
    job=names,
    round=rounds,
    kind=kinds,
    client=names,
    attempt=names,
    outcome=st.sampled_from(["updated", "evaluated", "failed", "dead"]),
    digest=st.none() | digests,
    size=counts,
    examples=counts,
    metrics=metrics,
    counts=st.dictionaries(
        words, st.lists(st.integers(0, 1 << 53) | st.floats(allow_nan=False), max_size=8), max_size=8
    ),
    counted=st.lists(words, max_size=5).map(tuple),
    failure=st.none() | failures,
    trainer=words,
)
any_message = st.one_of(submissions, round_jobs, completions)

scalars = (
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | words | st.binary(max_size=20)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4), max_leaves=8
)
fields = st.sampled_from(sorted({name for kind in KINDS for name in kind.model_fields}))

slow = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)


@slow
@given(any_message)
def test_what_is_written_is_read_back(message: Any) -> None:
    assert decode(encode(message), type(message)) == message


@slow
@given(st.binary(max_size=2000), st.sampled_from(KINDS))
def test_any_bytes_are_read_or_refused(body: bytes, kind: type[Any]) -> None:
    read_or_refused(body, kind)


@slow
@given(any_message, st.integers(0), st.binary(min_size=1, max_size=8))
def test_a_message_with_bytes_overwritten_is_read_or_refused(message: Any, place: int, patch: bytes) -> None:
    body = bytearray(encode(message))
    place %= len(body)
    body[place : place + len(patch)] = patch
    read_or_refused(bytes(body), type(message))


@slow
@given(any_message, st.dictionaries(fields, values, max_size=3))
def test_a_message_with_other_values_is_read_or_refused(message: Any, changes: dict[str, Any]) -> None:
    read_or_refused(msgpack.packb({**message.model_dump(exclude_none=True), **changes}), type(message))


@slow
@given(st.lists(st.sampled_from([b"\x91", b"\x81\xa1a", b"\xdc\x01\x00", b"\xde\x00\x01\xa1a"]), max_size=3000))
def test_any_nesting_is_read_or_refused(openings: list[bytes]) -> None:
    for head in (b"", b"\x82\xa7version\x01\xa4type", b"\x82\xa4type\xa9round-job\xa7version"):
        read_or_refused(head + b"".join(openings), RoundJob)


@pytest.mark.parametrize("depth", [100, 511, 512, 1000, 1023, 1024, 1025, 500_000])
def test_any_depth_of_a_whole_value_is_read_or_refused(depth: int) -> None:
    for opening, end in ((b"\x91", b"\x01"), (b"\x81\xa1a", b"\xc0")):
        nested = opening * min(depth, 300_000) + end
        for name in ("type", "version", "job", "set_aside", "later"):
            head = msgpack.packb({"version": 1, "type": "submission", "job": "j"})
            body = bytes([head[0] + 1]) + head[1:] + msgpack.packb(name) + nested
            read_or_refused(body, Submission)


def read_or_refused(body: bytes, kind: type[Any]) -> None:
    try:
        message = decode(body, kind)
    except MessageUnreadable as error:
        words = str(error)
    else:
        words = "read"
        assert isinstance(message, kind)
        assert decode(encode(message), kind) == message or "nan" in repr(message)
    assert 0 < len(words) < 1000
