"""How much work each client is given: the job's `[balance]`, and what of the rest of a job goes with it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class BalanceSpec(BaseModel):
    """`[balance]`: local work that follows each client's round-trip, as earlier rounds measured it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["none", "aimd", "deadline"] = "none"
    target: Annotated[float, Field(gt=0, le=1)] = 0.5  # of the deadline: an answer should be in by then
    increase: Annotated[float, Field(gt=0, le=1)] = 0.1  # aimd: added to the share of who was in time
    decrease: Annotated[float, Field(gt=0, lt=1)] = 0.5  # aimd: the share of who was late is multiplied by it
    least: Annotated[float, Field(gt=0, le=1)] = 0.1  # share of the job's local work
    most: Annotated[float, Field(ge=1, le=100)] = 1.0

    @property
    def balances(self) -> bool:
        return self.kind != "none"

    @model_validator(mode="after")
    def _check(self) -> BalanceSpec:
        for name in ("increase", "decrease"):
            if self.kind == "deadline" and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} means nothing to deadline; it is an option of aimd")
        return self


def check(balance: BalanceSpec, job: Any) -> None:
    """See that the rest of the job goes with it. Raises ValueError; the words begin with the field."""
    if balance.balances and job.schedule.asynchronous:
        raise ValueError(f"balance.kind: in {job.schedule.kind} nobody waits for the slow; leave out one of them")
    if balance.balances and job.update == "gradients":
        raise ValueError("balance.kind: in a gradients job each client's work is one gradient, and can't be shared out")
