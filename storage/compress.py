"""`[compress]` of a job: how the trained tensors of an update travel, and how small."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

SHARE_MAX = 0.5  # above it places and values together are more bytes than the tensor itself


class CompressSpec(BaseModel):
    """What is done to the tensors that are trained; all others (buffers, integers) travel as they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    to: Literal["none", "fp16", "bf16", "int8", "topk"] = "none"
    scale: Literal["tensor", "channel"] = "tensor"  # int8: one scale a tensor, or one for each row of dimension 0
    rounding: Literal["stochastic", "nearest"] = "stochastic"  # int8
    share: Annotated[float, Field(gt=0, le=SHARE_MAX)] = 0.01  # topk: of each tensor's items, the largest ones
    error_feedback: bool = True  # topk: what is left out is kept, and added to the client's next update
    zstd: Annotated[int, Field(ge=0, le=19)] = 0  # level, over every tensor; 0: none

    @property
    def feeds_back(self) -> bool:
        """Whether a client keeps what its updates left out."""
        return self.to == "topk" and self.error_feedback

    @property
    def used(self) -> bool:
        """Whether an update's file differs from the plain one at all."""
        return self.to != "none" or self.zstd > 0
