"""What passes between a trainer and its training process: one order, one outcome, as JSON. No torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..broker.messages import METRICS_MAX, Failure, Kind
from ..storage.job import JobSpec, read_spec, write_spec

TRACE_BYTES_MAX = 16_384  # of a traceback, for the log beside the data
SHARED_TRACE_CHARS = 4_096  # of it in a failure that leaves the trainer: a round may hold thousands
METRIC_NAME_MAX = 63
INLINE_BYTES_MAX = 1 << 18  # of an update that comes with the answer: a larger one is sooner written over a file
EARLY_BYTES_MIN = 32 << 20  # of an update whose beginning is told: a smaller one is written in the time of a trip
SPECS_KEPT = 8


@dataclass(frozen=True, slots=True)
class Work:
    """One client's work in one round, with everything fetched to local files.

    `output_path` is where the update is written; unused by an evaluation. `held_out` asks for the task's
    own test data in place of the client's validation share. `inline` is the most bytes of an update that comes
    with the answer and in no file: to make one costs more than a small update's training. `wrote` is told, by the
    process and then in the trainer, how many bytes the file of a large update will have, and how many are written.
    """

    kind: Kind
    spec: JobSpec
    job_round: int
    client: str
    index: int
    count: int
    site: str | None
    attempt: str
    task_path: Path
    base_path: Path | None
    output_path: Path
    held_out: bool = False
    state_path: Path | None = None  # what the client kept
    server_path: Path | None = None  # what the strategy keeps beside the checkpoint
    share: float | None = None  # of the job's local work; None: all of it
    inline: int = 0
    wrote: Callable[[int, int], None] | None = field(default=None, compare=False, repr=False)

    @property
    def state_output_path(self) -> Path:
        """Where what the client keeps from now on is written, beside the update."""
        return self.output_path.with_name(f"{self.output_path.stem}.state.safetensors")


@dataclass(frozen=True, slots=True)
class Trained:
    """An update lies at `path`: its size in bytes, the digest of its bytes, the examples it stands for.

    `state`: what the client keeps if it counts (path, size, digest); None where it keeps nothing.
    `body`: the whole update, where it is small and came with the answer; there is no file then.
    """

    path: Path
    size: int
    digest: str
    examples: int
    metrics: Mapping[str, float]
    state: tuple[Path, int, str] | None = None
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Means over so many examples; 0 examples and no metrics where there was nothing to evaluate on.

    Attributes:
        counts: what the metrics follow from (storage/counting.py), so that those of many clients add up.
        counted: the metrics made of counts that are no mean.
    """

    examples: int
    metrics: Mapping[str, float]
    counts: Mapping[str, Sequence[float]] = field(default_factory=dict)
    counted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskFailed:
    """The task failed this client. `failure` may leave the trainer; `trace` stays in its own log."""

    failure: Failure
    trace: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """Training ended at a batch because it was no longer wanted."""


@dataclass(frozen=True, slots=True)
class Crashed:
    """The training process died under the work: nothing is known of the task's part in it."""

    reason: str


Outcome = Trained | Evaluated | TaskFailed | Stopped | Crashed
Told = Trained | Evaluated | TaskFailed | Stopped  # what the child itself can say


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What the training process found itself on."""

    device: str  # cpu | cuda:i
    name: str  # "cpu", or the GPU's own name
    torch: str


def write_work(number: int, work: Work, spec: str | None = None) -> bytes:
    """The order, numbered so that a late answer to an earlier one is known for what it is.

    Args:
        spec: the text of its spec, if it is at hand; "" where the order before had the same.
    """
    fields = {
        "kind": work.kind,
        "spec": write_spec(work.spec).decode() if spec is None else spec,
        "job_round": work.job_round,
        "client": work.client,
        "index": work.index,
        "count": work.count,
        "site": work.site,
        "attempt": work.attempt,
        "task_path": str(work.task_path),
        "base_path": None if work.base_path is None else str(work.base_path),
        "output_path": str(work.output_path),
        "held_out": work.held_out,
        "state_path": None if work.state_path is None else str(work.state_path),
        "server_path": None if work.server_path is None else str(work.server_path),
        "share": work.share,
        "inline": work.inline,
        "wrote": work.wrote is not None,
    }
    return json.dumps({"number": number, "work": fields}).encode()


def read_work(
    fields: dict[str, Any], before: JobSpec | None = None, wrote: Callable[[int, int], None] | None = None
) -> Work:
    """The order back; `before` is the spec of the one before, `wrote` is told where the trainer wants to hear it."""
    names = ("task_path", "base_path", "output_path", "state_path", "server_path")
    paths = {name: None if fields[name] is None else Path(fields[name]) for name in names}
    spec = before if before is not None and not fields["spec"] else _spec_of(fields["spec"])
    return Work(**{**fields, **paths, "spec": spec, "wrote": wrote if fields["wrote"] else None})


@lru_cache(maxsize=SPECS_KEPT)
def _spec_of(text: str) -> JobSpec:
    """A spec of its text, which costs 0.2 ms to read: works of several jobs may take turns."""
    return read_spec(text.encode())


def write_told(number: int, told: Told, *, last: bool = False) -> bytes:
    """The answer to an order; `last` where the process ends after it, as its device refuses more."""
    body = b""
    if isinstance(told, TaskFailed):
        fields: dict[str, Any] = {"failure": told.failure.model_dump(), "trace": told.trace}
    elif isinstance(told, Trained):
        state = told.state and [str(told.state[0]), *told.state[1:]]
        fields = {"path": str(told.path), "size": told.size, "digest": told.digest, "examples": told.examples}
        fields |= {"metrics": dict(told.metrics), "state": state}
        body = b"" if told.body is None else _BODY + told.body
    else:
        fields = asdict(told)
    said = {"number": number, "outcome": type(told).__name__, "fields": fields, "last": last}
    return json.dumps(said).encode() + body


_BODY = b"\n"  # stands before an update that comes with the answer: JSON as it is written here has no line's end


def write_wrote(number: int, size: int, done: int) -> bytes:
    """Word on an order under way: how many bytes its update will have, and how many are in its file."""
    return json.dumps({"number": number, "wrote": [size, done]}).encode()


def read_answer(message: bytes) -> dict[str, Any]:
    """What a training process said, with the update as `body`, where it came along."""
    text, line_end, body = message.partition(_BODY)
    said: dict[str, Any] = json.loads(text)
    return {**said, "body": body} if line_end else said


def read_told(message: dict[str, Any]) -> Told:
    fields = message["fields"]
    match message["outcome"]:
        case "Trained":
            state = fields["state"] and (Path(fields["state"][0]), *fields["state"][1:])
            return Trained(**{**fields, "path": Path(fields["path"]), "state": state, "body": message.get("body")})
        case "Evaluated":
            return Evaluated(**{**fields, "counted": tuple(fields["counted"])})
        case "TaskFailed":
            return TaskFailed(Failure(**fields["failure"]), fields["trace"])
        case _:
            return Stopped()


def bounded_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """As many metrics, with names as long, as a message may carry."""
    return {str(name)[:METRIC_NAME_MAX]: float(metrics[name]) for name in sorted(metrics)[:METRICS_MAX]}
