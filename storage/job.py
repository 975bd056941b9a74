"""The job spec: what a run is, resolved and checked; `jobs/<job>/job.json` holds it."""

from __future__ import annotations

import functools
import math
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .balance import BalanceSpec
from .balance import check as check_balance
from .compress import CompressSpec
from .counting import family, no_such_metric
from .errors import ObjectDamaged, SpecInvalid
from .schedule import ScheduleSpec, check, fill_in
from .track import TrackSpec

CLIENTS_MAX = 100_000
ROUNDS_MAX = 99_999
SPEC_VERSION = 1

Name = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,63}$")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Pattern = Annotated[str, Field(min_length=1, max_length=255)]
Scalar = bool | int | float | str
Value = Scalar | list[Scalar]
Options = Annotated[dict[Annotated[str, Field(max_length=63)], Value], Field(max_length=64)]

_Nested = Annotated[dict[Annotated[str, Field(max_length=255)], Value | dict[str, Value]], Field(max_length=2_000)]
DataOptions = Annotated[dict[Annotated[str, Field(max_length=63)], Value | _Nested], Field(max_length=64)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskRef(_Section):
    """Which task: a name for people, the file's name, and the sha256 of its source."""

    name: Annotated[str, Field(max_length=255)]
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class TrainSpec(_Section):
    """`[train]`: the work of one client in one round."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 1
    steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None  # instead of epochs
    batch_size: Annotated[int, Field(ge=0, le=1 << 24)] = 32  # 0: all examples in one batch
    accumulate: Annotated[int, Field(ge=1, le=1 << 16)] = 1  # gradients: batches in one gradient
    optimizer: Annotated[str, Field(max_length=63)] = "sgd"
    lr: Positive | dict[str, Positive] = 0.1  # or {"0": 0.1, "30": 0.01}: from that round on
    lr_decay: Annotated[float, Field(gt=0, le=1)] = 1.0  # a factor for each round
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: NotNegative = 0.0
    options: Options = Field(default_factory=dict)  # further arguments of the optimizer
    clip: Positive | None = None  # global gradient norm
    mu: NotNegative = 0.0  # FedProx's proximal term
    rule: Literal["fedbn", "fedper", "ditto", "fedsam"] | None = None  # see rules.py; a strategy may bring its own
    local: Annotated[tuple[Pattern, ...], Field(max_length=64)] = ()  # tensors that stay with the client, by name
    lam: NotNegative = 0.1  # ditto: how strongly the personal model is pulled to the global one
    rho: Positive = 0.05  # fedsam: the radius
    precision: Literal["fp32", "fp64", "bf16", "fp16"] = "fp32"
    shuffle: bool = True

    def lr_at(self, round_number: int) -> float:
        """The local rate in this round (rounds count from 1)."""
        base = self.lr
        if isinstance(base, dict):
            steps = sorted((int(start), rate) for start, rate in base.items())
            base = next((rate for start, rate in reversed(steps) if start <= round_number), steps[0][1])
        return float(base * self.lr_decay ** max(0, round_number - 1))

    @model_validator(mode="after")
    def _check(self) -> TrainSpec:
        if isinstance(self.lr, dict) and (not self.lr or not all(key.isdigit() for key in self.lr)):
            raise ValueError('lr by round needs round numbers as keys: lr = { "0" = 0.1, "30" = 0.01 }')
        return self


class StrategySpec(_Section):
    """`[strategy]`: its name, how updates are weighted, and its own options."""

    name: Annotated[str, Field(max_length=63)] = "fedavg"
    weighting: Literal["examples", "uniform"] | None = None  # None: examples, unless the algorithm is even by itself
    options: Options = Field(default_factory=dict)


class ReducerSpec(_Section):
    """`[reducer]`: how a round's updates become one, and its own options."""

    name: Annotated[str, Field(max_length=63)] = "average"
    f: Annotated[int, Field(ge=0, le=CLIENTS_MAX)] | None = None  # updates of a round that may be an attacker's
    before: Literal["nnm", "bucketing"] | None = None  # mixes the updates first
    weighted: bool = False  # robust reducers: by examples, which each client declares itself
    options: Options = Field(default_factory=dict)


class EvaluateSpec(_Section):
    """`[evaluate]`: when, by whom, and on what checkpoints are evaluated."""

    every: Annotated[int, Field(ge=0, le=ROUNDS_MAX)] = 1  # rounds; 0: never; the last one is always evaluated
    clients: Annotated[int, Field(ge=0, le=CLIENTS_MAX)] = 20  # on the validation share of at most so many
    share: Annotated[float, Field(ge=0, le=0.9)] = 0.1  # of each client's examples, kept from training
    held_out: bool = True  # the task's test_data, where it has one
    metrics: Annotated[tuple[Annotated[str, Field(max_length=63)], ...], Field(max_length=32)] = ()  # else the task's
    positive: Annotated[int, Field(ge=0, le=1)] | None = None  # of two classes; None: the task's, else 1
    best: Annotated[str, Field(max_length=63)] = "accuracy"  # chooses best.safetensors; loss: the lowest
    batch_size: Annotated[int, Field(ge=1, le=1 << 24)] = 256
    deadline_seconds: Positive = 120.0

    @model_validator(mode="after")
    def _check(self) -> EvaluateSpec:
        for name in self.metrics:
            if not family(name):
                raise ValueError(f"metrics: {no_such_metric(name)}")
        return self


class JobSpec(_Section):
    """One federated training run, every default filled in. Frozen at submit."""

    version: Literal[1] = 1
    job: Name
    task: TaskRef
    clients: Annotated[int, Field(ge=1, le=CLIENTS_MAX)] = 10
    sites: Annotated[tuple[Name, ...], Field(max_length=10_000)] = ()  # instead of clients
    pool: Name = "default"
    rounds: Annotated[int, Field(ge=1, le=ROUNDS_MAX)] = 10
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    over_select: Annotated[int, Field(ge=0, le=CLIENTS_MAX)] = 0
    update: Literal["weights", "delta", "gradients"] = "weights"
    quorum: Annotated[int, Field(ge=1)] | Annotated[str, Field(max_length=16)] = "80%"
    deadline_seconds: Positive = 120.0
    below_quorum: Literal["pause", "extend", "resample", "fail"] = "pause"
    max_extensions: Annotated[int, Field(ge=0, le=1000)] = 3
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    needs: Literal["gpu"] | None = None
    torch_threads: Annotated[int, Field(ge=1, le=1024)] = 1
    share_errors: Literal["full", "type"] | None = None  # None: full in a pool, type at a site
    keep_updates: Annotated[int, Field(ge=0, le=ROUNDS_MAX)] = 2  # rounds
    keep_checkpoints: Annotated[str, Field(max_length=32)] = "all"  # all | n | "every k"
    train: TrainSpec = TrainSpec()
    strategy: StrategySpec = StrategySpec()
    reducer: ReducerSpec = ReducerSpec()
    evaluate: EvaluateSpec = EvaluateSpec()
    schedule: ScheduleSpec = ScheduleSpec()
    balance: BalanceSpec = BalanceSpec()
    compress: CompressSpec = CompressSpec()
    track: TrackSpec = TrackSpec()
    params: Options = Field(default_factory=dict)  # arguments of the task's model()
    data: DataOptions = Field(default_factory=dict)  # arguments of the task's data() beside the client
    submitted: Annotated[str, Field(max_length=64)] = ""  # the submitter's wall clock, for people

    @property
    def client_names(self) -> tuple[str, ...]:
        """All clients of the job, in client order."""
        return tuple(sorted(self.sites)) if self.sites else _pool_names(self.clients)

    @property
    def client_count(self) -> int:
        return len(self.sites) or self.clients

    def source_of(self, client: str) -> str:
        """Where this client's round jobs go, and its updates come from."""
        return f"site.{client}" if self.sites else f"pool.{self.pool}"

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(f"site.{site}" for site in sorted(self.sites)) if self.sites else (f"pool.{self.pool}",)

    @property
    def selected(self) -> int:
        """How many clients' updates a round wants (n), before over-selection."""
        return max(1, math.floor(self.client_count * self.fraction + 0.5))

    @property
    def asked(self) -> int:
        return min(self.client_count, self.selected + self.over_select)

    @property
    def quorum_count(self) -> int:
        """The fewest valid updates with which a round may close: of n, before over-selection."""
        if isinstance(self.quorum, int):
            return self.quorum
        return max(1, math.ceil(self.selected * percent(self.quorum) / 100 - 1e-9))

    @property
    def errors_shared(self) -> bool:
        """Whether an exception's text may leave the trainer."""
        return (self.share_errors or ("type" if self.sites else "full")) == "full"

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, fields: Any) -> Any:
        return fill_in(fields) if isinstance(fields, dict) else fields

    @model_validator(mode="before")
    @classmethod
    def _count_sites(cls, fields: Any) -> Any:
        sites = fields.get("sites") if isinstance(fields, dict) else None
        if isinstance(sites, list | tuple) and sites and "clients" not in fields:
            return {**fields, "clients": len(sites)}
        return fields

    @model_validator(mode="after")
    def _check(self) -> JobSpec:
        if self.sites and len(set(self.sites)) != len(self.sites):
            raise ValueError("sites: a name stands there twice")
        if self.sites and self.clients != len(self.sites):
            raise ValueError("clients and sites: give one of them; with sites, each site is a client")
        count = self.quorum_count
        if count > self.selected:
            raise ValueError(
                f"quorum {count} is more than the {self.selected} clients selected in a round "
                f"(clients {self.client_count} x fraction {self.fraction:g}). Lower quorum, or raise fraction."
            )
        if self.compress.to == "topk" and self.update == "weights":
            raise ValueError(
                'compress.to: "topk" sends the largest items alone, which of weights makes no model. '
                'Set update = "delta" or "gradients".'
            )
        keep_rule(self.keep_checkpoints)
        check(self.schedule, self)
        check_balance(self.balance, self)
        return self


@functools.lru_cache(maxsize=8)
def _pool_names(count: int) -> tuple[str, ...]:
    width = max(3, len(str(count - 1)))
    return tuple(f"c{index:0{width}}" for index in range(count))


def percent(text: str) -> float:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    if found is None or not 0 < float(found[1]) <= 100:
        raise ValueError(f'quorum {text!r} is neither a number of clients nor a share such as "80%"')
    return float(found[1])


def keep_rule(text: str) -> tuple[str, int]:
    """("all", 0), ("last", n) or ("every", k) from `keep_checkpoints`."""
    if text == "all":
        return ("all", 0)
    found = re.fullmatch(r"(every\s+)?(\d{1,5})", text)
    if found is None or int(found[2]) < 1:
        raise ValueError(f'keep_checkpoints {text!r} is none of "all", a number of rounds, "every k"')
    return ("every" if found[1] else "last", int(found[2]))


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str | float) -> float:
    """A span of time with its unit: `90s`, `2m`, `1h30m`. A bare number is refused: its unit would be a guess."""
    found = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", str(text).replace(" ", ""))
    if not found or "".join(n + u for n, u in found) != str(text).replace(" ", ""):
        raise ValueError(f'{text!r} needs a unit: "90s", "2m", "1h30m"')
    return sum(float(number) * _UNITS[unit] for number, unit in found)


_BRANCH = re.compile(r"(int|str|float|bool|dict|list|constrained-\w+|function-.*|.*\[.*)\Z")  # pydantic's, of a union


def make_spec(fields: dict[str, Any]) -> JobSpec:
    """Check and freeze a spec.

    Raises:
        SpecInvalid: names the field (dotted), what is wrong, the value seen.
    """
    try:
        return JobSpec.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"] if not _BRANCH.match(str(part)))
        what = first["msg"].removeprefix("Value error, ")
        value = first["input"]
        shown = repr(value[:80]) if isinstance(value, str) else str(value)[:80]
        seen = "" if isinstance(value, dict) else f" (got {shown})"
        raise SpecInvalid(f"{where}: {what}{seen}" if where else what) from None


def read_spec(body: bytes) -> JobSpec:
    """The spec from the bytes of `job.json`. Raises ObjectDamaged."""
    try:
        return JobSpec.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ObjectDamaged(f"job.json: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def write_spec(spec: JobSpec) -> bytes:
    return spec.model_dump_json(indent=1).encode()
