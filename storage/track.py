"""`[track]` of a job: which trackers of experiments are told of its rounds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class TrackSpec(BaseModel):
    """Which trackers the aggregator tells of the rounds. Addresses and keys are the aggregator's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    to: Annotated[tuple[Literal["tensorboard", "mlflow", "wandb"], ...], Field(max_length=3)] = ()
    experiment: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "warren"  # MLflow's; W&B's project

    @field_validator("to", mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("to")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value))
