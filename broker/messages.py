"""The messages, and their bytes: frozen pydantic models, msgpack on the wire, read with limits."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgpack
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import MessageUnreadable

PROTOCOL_VERSION = 1
PROTOCOL_OLDEST = 1  # an aggregator also speaks the version before its own
MESSAGE_BYTES_MAX = 1 << 20  # RabbitMQ 4 refuses above 16 MiB; ours are under 4 kB
METRICS_MAX = 64
TEXT_MAX = 16_384
SET_ASIDE_MAX = 64
COUNTS_MAX = 16_384  # numbers in the counts of one evaluation: AUROC of 32 classes has 12,864
ITEMS_MAX = 256  # of any list or map in a message: msgpack makes room for as many as a header claims

Name = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,63}$")]
Digest = Annotated[str, Field(pattern=r"^(?:[0-9a-f]{32}|[0-9a-f]{64})$")]  # an XXH3 or a blake3
Parcel = Annotated[str, Field(max_length=220, pattern=r"^(?:_[a-z0-9-]{1,63}\.[a-z0-9-]{1,63}){2,64}$")]
Source = Annotated[str, Field(pattern=r"^(site|pool)\.[a-z0-9-]{1,63}$")]
Count = Annotated[int, Field(ge=0, le=1 << 53)]
RoundNumber = Annotated[int, Field(ge=0, le=99_999)]
MetricName = Annotated[str, Field(max_length=63)]
Metrics = Annotated[dict[MetricName, float], Field(max_length=METRICS_MAX)]
CountsOfOne = Annotated[list[int | float], Field(max_length=ITEMS_MAX)]
Counts = Annotated[dict[Annotated[str, Field(max_length=80)], CountsOfOne], Field(max_length=ITEMS_MAX)]
Kind = Literal["init", "train", "evaluate", "test"]  # evaluate: the client's validation share; test: held-out data


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    version: Annotated[int, Field(ge=1)] = PROTOCOL_VERSION


class Submission(_Message):
    """A job is in the store and wants a leader. Late or lost does no harm: aggregators list the jobs too."""

    type: Literal["submission"] = "submission"
    job: Name


class RoundJob(_Message):
    """The order to one client for one round: what to start from, and who is asked.

    `base` is the checkpoint to start from (None in round 0, where the model is initialised);
    `state` is what this client kept with its last update that counted, where the algorithm keeps anything;
    `server` what the strategy keeps beside the checkpoint, where clients need it. `again` says that somebody
    may have been asked before, so that the trainer looks for an update first; `set_aside` names attempts
    that were rejected and do not count as one. `publication` tells one sending from the next. `parcels` says
    that small updates of several clients may come as one object.
    """

    type: Literal["round-job"] = "round-job"
    job: Name
    round: RoundNumber
    kind: Kind
    plan: Annotated[int, Field(ge=0, le=99)] = 0
    client: Name
    index: Count = 0
    count: Annotated[int, Field(ge=1, le=1 << 30)] = 1
    source: Source
    base: Annotated[str, Field(max_length=512)] | None = None
    base_digest: Digest | None = None
    base_bytes: Count = 0
    state: Annotated[str, Field(max_length=512)] | None = None
    state_digest: Digest | None = None
    state_bytes: Count = 0
    server: Annotated[str, Field(max_length=512)] | None = None
    server_digest: Digest | None = None
    server_bytes: Count = 0
    share: Annotated[float, Field(gt=0, le=100)] | None = None  # of the job's local work; None: all of it
    publication: Name = "0"
    again: bool = False
    set_aside: Annotated[tuple[Name, ...], Field(strict=False, max_length=SET_ASIDE_MAX)] = ()  # a list on the wire
    parcels: bool = False

    @property
    def site(self) -> str | None:
        """The site's name, or None for a client of a pool."""
        place, _, name = self.source.partition(".")
        return name if place == "site" else None


class Failure(BaseModel):
    """Why a client failed, with no more of the exception than its site lets out."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    error: Annotated[str, Field(max_length=255)]  # the exception's type, or a word of ours
    file: Annotated[str, Field(max_length=255)] = ""
    line: Count = 0
    id: Annotated[str, Field(max_length=63)] = ""  # also in the site's own log, beside the text
    text: Annotated[str, Field(max_length=TEXT_MAX)] = ""  # only where share_errors = "full"

    def __str__(self) -> str:
        where = f" at {self.file}:{self.line}" if self.file else ""
        first = next(iter(self.text.strip().splitlines()), "")
        words = f"{self.error}{where}" + (f": {first}" if first else "") + (f" (error id {self.id})" if self.id else "")
        return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in words)  # a peer wrote it


class Completion(_Message):
    """What became of one attempt: an update is in the store, an evaluation's numbers, or a failure.

    An update's own facts (examples, metrics) stand in its file. Who answered is known from the stream that carries
    this, and the key follows from stream, client, attempt and parcel: nobody can name another source's object.
    """

    type: Literal["completion"] = "completion"
    job: Name
    round: RoundNumber
    kind: Kind
    client: Name
    attempt: Name
    outcome: Literal["updated", "evaluated", "failed", "dead"]
    digest: Digest | None = None
    size: Count = 0
    parcel: Parcel | None = None  # that the update lies in, with others of the same source
    examples: Count = 0  # of an evaluation
    metrics: Metrics = Field(default_factory=dict)  # of an evaluation
    counts: Counts = Field(default_factory=dict)  # of an evaluation: what its metrics follow from
    counted: Annotated[tuple[MetricName, ...], Field(strict=False, max_length=METRICS_MAX)] = ()  # made of counts
    failure: Failure | None = None
    trainer: Annotated[str, Field(max_length=255)] = ""

    @model_validator(mode="after")
    def _check(self) -> Completion:
        numbers = sum(map(len, self.counts.values()))
        if numbers > COUNTS_MAX:
            raise ValueError(f"{numbers} counts; at most {COUNTS_MAX}")
        return self


_M = TypeVar("_M", bound=_Message)
_TYPES: dict[str, type[_Message]] = {"submission": Submission, "round-job": RoundJob, "completion": Completion}


def encode(message: _Message) -> bytes:
    """The message as msgpack bytes."""
    body: bytes = msgpack.packb(message.model_dump(exclude_none=True), use_bin_type=True)
    if len(body) > MESSAGE_BYTES_MAX:
        raise MessageUnreadable(f"message of {len(body)} bytes is over the limit of {MESSAGE_BYTES_MAX}")
    return body


def decode(body: bytes, expected: type[_M]) -> _M:
    """Read a message of the expected type.

    Raises:
        MessageUnreadable: too long, not msgpack, of another type, of a newer or too old version, or with a
            field out of bounds; the words say which.
    """
    fields = _unpack(body)
    version = fields.get("version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise MessageUnreadable("message carries no version")
    if version > PROTOCOL_VERSION:
        raise MessageUnreadable(f"protocol version {version}; this Warren reads up to {PROTOCOL_VERSION}")
    if version < PROTOCOL_OLDEST:
        raise MessageUnreadable(f"protocol version {version}; this Warren reads from {PROTOCOL_OLDEST}")
    kind = fields.get("type")
    if not isinstance(kind, str) or _TYPES.get(kind) is not expected:
        got = repr(kind[:40]) if isinstance(kind, str) else type(kind).__name__
        raise MessageUnreadable(f"expected a {expected.__name__}, got type {got}")
    try:
        return expected.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MessageUnreadable(f"{expected.__name__}.{where[:80]}: {first['msg']}") from None


def _unpack(body: bytes) -> dict[str, Any]:
    if len(body) > MESSAGE_BYTES_MAX:
        raise MessageUnreadable(f"message of {len(body)} bytes is over the limit of {MESSAGE_BYTES_MAX}")
    try:
        fields = msgpack.unpackb(
            body, raw=False, strict_map_key=True, max_array_len=ITEMS_MAX, max_map_len=ITEMS_MAX, max_ext_len=16
        )
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise MessageUnreadable(f"not msgpack: {type(error).__name__}") from None
    if not isinstance(fields, dict):
        raise MessageUnreadable(f"expected a map, got {type(fields).__name__}")
    return fields
