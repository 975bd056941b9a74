"""When updates become a model: the job's `[schedule]`, and what of the rest of a job goes with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

STALENESS_MAX = 99_999

Kind = Literal["synchronous", "ssp", "fedasync", "fedbuff"]
Discount = Literal["constant", "polynomial", "hinge"]
Above = Annotated[float, Field(gt=0, allow_inf_nan=False)]
AtLeast = Annotated[float, Field(ge=0, allow_inf_nan=False)]

_DISCOUNTED = ("discount", "a", "b")
_OWN: dict[str, tuple[str, ...]] = {
    "synchronous": (),
    "ssp": ("staleness",),
    "fedasync": ("alpha", *_DISCOUNTED),
    "fedbuff": ("buffer", *_DISCOUNTED),
}
_SENDS = {"ssp": ("delta", "gradients"), "fedasync": ("weights",), "fedbuff": ("delta", "gradients")}


class ScheduleSpec(BaseModel):
    """`[schedule]`: rounds that all end together, or a version of the model as soon as there is cause for one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = "synchronous"
    staleness: Annotated[int, Field(ge=0, le=STALENESS_MAX)] | Literal["inf"] = 0  # ssp: S
    buffer: Annotated[int, Field(ge=1, le=100_000)] = 10  # fedbuff: K
    alpha: Annotated[float, Field(gt=0, le=1)] = 0.6  # fedasync: the share of a fresh update
    discount: Discount = "polynomial"  # of stale updates: 1; (1 + t)^-a; 1 up to b, then 1 / (a (t - b) + 1)
    a: Above = 0.5
    b: AtLeast = 4.0

    @property
    def asynchronous(self) -> bool:
        """Whether clients do not wait for each other's round to end."""
        return self.kind != "synchronous"

    @model_validator(mode="after")
    def _check(self) -> ScheduleSpec:
        for name, field in type(self).model_fields.items():
            if name != "kind" and name not in _OWN[self.kind] and getattr(self, name) != field.default:
                owners = " or ".join(kind for kind, own in _OWN.items() if name in own)
                raise ValueError(f"{name} means nothing to {self.kind}; it is an option of {owners}")
        return self


def fill_in(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A job's fields with those defaults that an asynchronous schedule has other than a synchronous one."""
    schedule = fields.get("schedule")
    kind = schedule.get("kind") if isinstance(schedule, Mapping) else getattr(schedule, "kind", None)
    if kind not in _SENDS:
        return dict(fields)
    strategy = fields.get("strategy", {})
    if isinstance(strategy, Mapping):
        strategy = {"weighting": "uniform", **strategy}
    few = {} if kind == "ssp" else {"quorum": 1}
    return {"update": _SENDS[kind][0], **few, **fields, "strategy": strategy}


def check(schedule: ScheduleSpec, job: Any) -> None:
    """See that the rest of the job goes with its schedule.

    Args:
        schedule: the job's.
        job: the `JobSpec`, all of whose own fields are checked.

    Raises:
        ValueError: it does not; the words begin with the field.
    """
    kind, clients = schedule.kind, job.client_count
    if not schedule.asynchronous:
        return
    if job.update not in _SENDS[kind]:
        sends = " or ".join(f'"{each}"' for each in _SENDS[kind])
        raise ValueError(f'update: {kind} works on {sends}, and this job sends "{job.update}"')
    if job.strategy.weighting != "uniform":
        raise ValueError(f'strategy.weighting: {kind} counts clients alike, by their staleness: use "uniform"')
    if job.over_select:
        raise ValueError(f"over_select: nobody waits for the last in {kind}, so there is nothing to ask more for")
    if job.below_quorum == "resample":
        raise ValueError(
            f'below_quorum: {kind} always asks another client where one fails; "pause", "extend" or "fail" '
            "say what happens when too few are left"
        )
    if kind == "ssp" and job.selected != clients:
        raise ValueError("fraction: in ssp all clients take part; leave it at 1")
    if kind == "fedbuff" and schedule.buffer > clients:
        raise ValueError(
            f"schedule.buffer: {schedule.buffer} updates of different clients never come together, "
            f"as the job has {clients}. Lower it."
        )
