"""The messages: what is read back, what is refused, and in which words."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgpack
import pytest
from pydantic import ValidationError

from warren.broker import messages
from warren.broker.errors import MessageUnreadable
from warren.broker.messages import Completion, Failure, RoundJob, Submission, decode, encode

DIGEST = "0" * 64
ROUND_JOB = RoundJob(
    job="digits-7",
    round=12,
    kind="train",
    client="c007",
    index=7,
    count=10,
    source="pool.default",
    base="jobs/digits-7/checkpoints/round-00011.safetensors",
    base_digest=DIGEST,
    base_bytes=4096,
    again=True,
    set_aside=("a1", "a2"),
)
COMPLETION = Completion(
    job="digits-7",
    round=12,
    kind="train",
    client="c007",
    attempt="a3",
    outcome="failed",
    metrics={"loss": 0.5, "steps": 3},
    failure=Failure(error="ValueError", file="lung.py", line=31, id="e1", text="boom"),
)


@pytest.mark.parametrize("message", [ROUND_JOB, COMPLETION, Submission(job="digits-7")])
def test_a_message_is_read_back_as_it_was(message: Any) -> None:
    assert decode(encode(message), type(message)) == message


def test_every_default_is_read_back_too() -> None:
    bare = RoundJob(job="j", round=0, kind="init", client="c", source="site.st-mary")
    assert decode(encode(bare), RoundJob) == bare
    assert (bare.site, ROUND_JOB.site) == ("st-mary", None)


def test_a_round_job_is_small() -> None:
    assert len(encode(ROUND_JOB)) < 1024


def test_fields_of_a_later_version_of_the_same_protocol_are_passed_over() -> None:
    assert decode(edited(ROUND_JOB, later={"a": [1]}), RoundJob) == ROUND_JOB


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 2}, "version 2; this Warren reads up to 1"),
        ({"version": 0}, "version 0; this Warren reads from 1"),
        ({"version": True}, "no version"),
        ({"version": "1"}, "no version"),
        ({"type": "completion"}, "expected a RoundJob, got type 'completion'"),
        ({"type": ["round-job"]}, "expected a RoundJob, got type list"),
        ({"type": "x" * 10_000}, "got type 'x{40}'$"),
        ({"job": "../escape"}, r"RoundJob\.job: "),
        ({"job": "line\n"}, r"RoundJob\.job: "),
        ({"job": 7}, r"RoundJob\.job: .*string"),
        ({"round": -1}, r"RoundJob\.round: .*greater"),
        ({"round": 100_000}, r"RoundJob\.round: .*less"),
        ({"round": 1.5}, r"RoundJob\.round: .*integer"),
        ({"round": True}, r"RoundJob\.round: .*integer"),
        ({"kind": "steal"}, r"RoundJob\.kind: "),
        ({"count": 0}, r"RoundJob\.count: "),
        ({"source": "pool.a/b"}, r"RoundJob\.source: "),
        ({"base_digest": "0" * 63}, r"RoundJob\.base_digest: "),
        ({"base": "k" * 513}, r"RoundJob\.base\b"),
        ({"set_aside": ["a"] * 65}, r"RoundJob\.set_aside: "),
    ],
)
def test_a_field_out_of_bounds_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(MessageUnreadable, match=words):
        decode(edited(ROUND_JOB, **changes), RoundJob)


def test_a_missing_field_is_named() -> None:
    fields = ROUND_JOB.model_dump(exclude_none=True)
    del fields["client"]
    with pytest.raises(MessageUnreadable, match=r"RoundJob\.client: .*required"):
        decode(msgpack.packb(fields), RoundJob)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",  # the one byte that msgpack never uses
        b"\x81",  # a map whose item is missing
        encode(ROUND_JOB) + b"\x00",
        encode(ROUND_JOB)[:-1],
        b"\x81\xa1\xff\x01",  # not UTF-8
        b"\x81\x01\x01",  # a key that is no string
        msgpack.packb([1, 2]),
        b"\x91" * 100_000,
        bytes(messages.MESSAGE_BYTES_MAX + 1),
    ],
)
def test_bytes_that_are_no_message_are_refused(body: bytes) -> None:
    with pytest.raises(MessageUnreadable):
        decode(body, RoundJob)


@pytest.mark.parametrize(
    "claim",
    [
        b"\xdd\xff\xff\xff\xff",  # a list of 2^32 - 1
        b"\xdf\xff\xff\xff\xff",  # a map
        b"\xdb\xff\xff\xff\xff",  # a string
        b"\xc6\xff\xff\xff\xff",  # bytes
        b"\xc9\xff\xff\xff\xff\x01",  # an extension
        b"\xdd\x00\x0f\x00\x00" * 900,  # lists in lists, each of nearly as many as the message has bytes
    ],
)
def test_no_memory_is_made_for_what_a_length_claims(claim: bytes) -> None:
    body = b"\x82\xa7version\x01\xa4type" + claim
    body += b"\x01" * (messages.MESSAGE_BYTES_MAX - len(body))
    tracemalloc.start()
    try:
        with pytest.raises(MessageUnreadable):
            decode(body, RoundJob)
        assert tracemalloc.get_traced_memory()[1] < 4 * messages.MESSAGE_BYTES_MAX
    finally:
        tracemalloc.stop()


def test_too_many_metrics_are_refused_before_they_are_sent() -> None:
    with pytest.raises(ValidationError):
        Completion.model_validate({**COMPLETION.model_dump(), "metrics": {str(number): 0.0 for number in range(65)}})


def test_a_failure_reads_as_one_line() -> None:
    assert str(COMPLETION.failure) == "ValueError at lung.py:31: boom (error id e1)"
    assert str(Failure(error="killed")) == "killed"
    assert str(Failure(error="ValueError", text="\n")) == "ValueError"
    assert str(Failure(error="E", text="\nfirst\nsecond")) == "E: first"


def test_a_failure_cannot_write_on_a_terminal() -> None:
    assert "\x1b" not in str(Failure(error="\x1b[2J", file="a\nb", text="\x1b]0;owned\x07"))
    assert "\n" not in str(Failure(error="E", file="a\nb"))


def edited(message: RoundJob, **changes: Any) -> bytes:
    body: bytes = msgpack.packb({**message.model_dump(exclude_none=True), **changes})
    return body
