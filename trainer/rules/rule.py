"""What a local rule is given, where it takes part in a client's training, and what it leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from ...storage.job import JobSpec

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Given:
    """What a rule starts from.

    Attributes:
        parameters: the trained ones by name: the model's own, which training changes.
        start: their values in the checkpoint, x in most papers; read only.
        state: what this client kept with its last update that counted; empty before the first.
        server: what the strategy keeps beside the checkpoint; empty in round 1.
        spec: the job.
        lr: the local rate of this round.
        model: the whole module.
        job_round: the round, from 1.
    """

    parameters: Mapping[str, torch.Tensor]
    start: Tensors
    state: Tensors
    server: Tensors
    spec: JobSpec
    lr: float
    model: torch.nn.Module
    job_round: int = 1


@dataclass(frozen=True, slots=True)
class Left:
    """What a rule leaves when training is over.

    Attributes:
        beside: tensors that the update carries beside the model's: group -> name -> tensor.
        state: what the client keeps, if its update counts; by a name with the group in front, `c/fc.weight`.
        terms: numbers that the strategy's formula takes from this client.
    """

    beside: Mapping[str, Tensors] = field(default_factory=dict)
    state: Tensors = field(default_factory=dict)
    terms: Mapping[str, float] = field(default_factory=dict)


class Rule:
    """The base: a rule that adds nothing."""

    def __init__(self, given: Given) -> None:
        self.given = given

    def begin(self, loss: Callable[[], float]) -> None:
        """Before the first batch. `loss()`: the mean loss over the client's examples at the start."""

    def take_up(self, optimizer: torch.optim.Optimizer) -> None:
        """Before the first batch: the round's optimizer, fresh; a rule may give it what an earlier one had."""

    def correct(self, again: Callable[[], None]) -> None:
        """After each backward pass, before the proximal term, clipping and the step.

        Args:
            again: runs the batch's forward and backward pass once more, into fresh gradients.
        """

    def end(self, steps: int) -> Left:
        """After the last of so many steps."""
        return Left()


def of_group(tensors: Tensors, group: str, like: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors `<group>/<name>`, on the device of the parameter of that name; zeros where there are none."""
    return {
        name: tensors[f"{group}/{name}"].to(p.device, p.dtype)
        if f"{group}/{name}" in tensors
        else torch.zeros_like(p, requires_grad=False)
        for name, p in like.items()
    }
