"""What can go wrong beside the data, by what the caller can do about it."""

from __future__ import annotations


class TrainerError(Exception):
    """Base of the room's errors; its words are shown to a person as they are."""


class TaskError(TrainerError):
    """The task file asks for something that cannot be: its author must mend it.

    Attributes:
        file: the task file's name, without its folder; empty where the mistake has no place.
        line: the line in it, from 1; 0 where the mistake has none.
    """

    def __init__(self, words: str, *, file: str = "", line: int = 0) -> None:
        super().__init__(words)
        self.file = file
        self.line = line

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        return place + super().__str__()


class NonFiniteLoss(TrainerError):
    """The loss became NaN or infinite: the update would be rejected, so none is made."""


class UnsupportedDtype(TrainerError):
    """A tensor of the model has a dtype that an update cannot carry."""


class BaseMismatch(TrainerError):
    """The checkpoint to start from is not one of this model."""


class NeedsGpu(TrainerError):
    """The job asks for a GPU (needs, fp16), and this trainer has none."""


class TrainingStopped(TrainerError):
    """The round closed, or the job was paused or cancelled: training ended at a batch, without a result."""
