"""The JSON documents of a job: plan, manifest, control, evaluation. Each is created once and never changes."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from .digests import DIGEST_PATTERN
from .errors import ObjectDamaged
from .keys import PARCEL_CHARACTERS_MAX, PARCEL_PATTERN

Name = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,63}$")]
Digest = Annotated[str, Field(pattern=DIGEST_PATTERN)]
Text = Annotated[str, Field(max_length=20_000)]
Metrics = Annotated[dict[Annotated[str, Field(max_length=63)], float], Field(max_length=64)]


_READING = ConfigDict(extra="ignore", ser_json_inf_nan="strings")


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, **_READING)


class Base(_Document):
    """The object that a round starts from."""

    key: Annotated[str, Field(max_length=512)]
    digest: Digest
    size: Annotated[int, Field(ge=0)]


class Plan(_Document):
    """Who is asked in a round. A resample writes the next plan of the same round, with more clients."""

    round: Annotated[int, Field(ge=0)]
    number: Annotated[int, Field(ge=0, le=99)] = 0
    clients: tuple[Name, ...]  # all asked so far, in client order
    wanted: Annotated[int, Field(ge=1)]  # n: the round may close at the n-th valid update
    quorum: Annotated[int, Field(ge=1)]
    base: Base | None = None
    shares: dict[Name, float] = Field(default_factory=dict)  # of local work, where not all of it
    # Asynchronous schedules, where `round` is the version to be made and `clients` are all who are out:
    bases: dict[Name, int] = Field(default_factory=dict)  # the version each started from, if not the last
    clocks: dict[Name, int] = Field(default_factory=dict)  # ssp: how many updates of each have counted
    server: Base | None = None  # the strategy's state beside it, where clients are given it


@dataclass(frozen=True, slots=True, kw_only=True, config=_READING)
class Entry:
    """One update that counts. There is one for each client, so it has slots: 0.8 kB, where a model had 1.9."""

    client: Name
    source: Annotated[str, Field(max_length=80)]
    attempt: Name
    digest: Digest
    size: Annotated[int, Field(ge=0)]
    examples: Annotated[int, Field(ge=0)]
    metrics: Metrics = Field(default_factory=dict)
    facts: dict[str, str] = Field(default_factory=dict)  # torch build, CPU capability, threads, seconds
    took: float | None = None  # seconds from asking to its arrival, where work is balanced
    base: Annotated[int, Field(ge=0)] | None = None  # the version it started from, if not the round's own start
    terms: Metrics = Field(default_factory=dict)  # numbers that the algorithm's formula takes from each client
    state: Digest | None = None  # of what the client keeps from this update to its next, where it keeps anything
    state_bytes: Annotated[int, Field(ge=0)] = 0
    parcel: Annotated[str, Field(max_length=PARCEL_CHARACTERS_MAX, pattern=PARCEL_PATTERN)] | None = None  # it lies in


class Manifest(_Document):
    """The frozen list of what counts in a round. Entries stand in client order: the order of folding."""

    job: Name
    round: Annotated[int, Field(ge=0)]
    plan: Annotated[int, Field(ge=0)] = 0
    base: Base | None = None
    entries: tuple[Entry, ...]
    rejected: dict[str, Text] = Field(default_factory=dict)
    failed: dict[str, Text] = Field(default_factory=dict)
    silent: dict[str, Text] = Field(default_factory=dict)
    reason: Text = ""
    quorum: int = 1
    asked: int = 1
    metrics: Metrics = Field(default_factory=dict)  # weighted by examples
    seconds: float = 0.0
    frozen_at: str = ""  # the writer's wall clock, for people
    versions: dict[str, str] = Field(default_factory=dict)
    forked_from: dict[str, str] = Field(default_factory=dict)  # round 0 of a fork: job, round, digests

    def round_of(self, entry: Entry) -> int:
        """The round that the client was asked in: its update stands there, and no client has two of one round."""
        return self.round if entry.base is None else entry.base + 1


class Control(_Document):
    """One command to a job; the highest number is in force."""

    command: Literal["pause", "resume", "cancel", "fail", "done"]
    reason: Text = ""
    by: Annotated[str, Field(max_length=255)] = ""
    at: str = ""


class ClientResult(_Document):
    """One client's numbers on one checkpoint."""

    examples: Annotated[int, Field(ge=0)]
    metrics: Metrics


class Spread(_Document):
    """One metric over the clients of an evaluation, each counting alike; see `aggregator.spread`."""

    clients: Annotated[int, Field(ge=1)]  # that report it
    min: float
    q1: float
    median: float
    q3: float
    max: float
    deviation: float  # standard, of the population
    worst_decile: float  # mean of the worst tenth of them
    worst: Name


class Evaluation(_Document):
    """What came of evaluating one checkpoint."""

    job: Name
    round: Annotated[int, Field(ge=0)]
    held_out: Metrics = Field(default_factory=dict)
    held_out_examples: int = 0
    validation: Metrics = Field(default_factory=dict)  # weighted by examples over the clients
    spread: Annotated[dict[str, Spread], Field(max_length=64)] = Field(default_factory=dict)  # of validation
    clients: dict[str, ClientResult] = Field(default_factory=dict)  # of too many, the worst
    missing: dict[str, Text] = Field(default_factory=dict)
    at: str = ""


_D = TypeVar("_D", bound=_Document)


def write_document(document: _Document) -> bytes:
    return document.model_dump_json(indent=1).encode()


def read_document(kind: type[_D], body: bytes, key: str) -> _D:
    """Read a document back.

    Raises:
        ObjectDamaged: not JSON, or a field is missing or out of bounds; the words name key and field.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ObjectDamaged(f"{key}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
