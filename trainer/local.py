"""Local training of one client in one round: no I/O. The model in, the model or its gradient out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from ..storage.job import TrainSpec
from .batches import Batch, Batches, Placing, draw, length
from .errors import NeedsGpu, TaskError, TrainingStopped
from .losses import Loss, LossTally
from .optimizers import make_optimizer, step
from .rules.rule import Left, Rule
from .task import Client

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
FP16_SCALE = 1024.0  # of a gradients job's loss; a power of two, so that dividing by it again is exact


@dataclass(frozen=True, slots=True)
class Setting:
    """All that a client's training follows from, beside the model and the data.

    Attributes:
        order_seed: of the order of examples, or of the batch of a gradients job.
        keep_going: asked before every batch.
    """

    train: TrainSpec
    job_round: int
    order_seed: int
    device: torch.device
    loss: Loss
    keep_going: Callable[[], bool] = lambda: True

    @property
    def lr(self) -> float:
        return self.train.lr_at(self.job_round)

    @property
    def placing(self) -> Placing:
        return Placing(self.device, double=self.train.precision == "fp64")

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """What forward passes run under. Raises NeedsGpu for fp16 on a CPU."""
        dtype = _AUTOCAST.get(self.train.precision)
        if dtype is None:
            return contextlib.nullcontext()
        if dtype is torch.float16 and self.device.type != "cuda":
            raise NeedsGpu("[train] precision fp16 needs a GPU; bf16 and fp32 run here")
        return torch.autocast(self.device.type, dtype)

    def poll(self) -> None:
        """Raises TrainingStopped when the training is no longer wanted."""
        if not self.keep_going():
            raise TrainingStopped


@dataclass(frozen=True, slots=True)
class Learned:
    """What came of it: the examples that the update stands for, means over them, and what the local rule leaves."""

    examples: int
    metrics: Mapping[str, float]
    left: Left = field(default_factory=Left)


@dataclass(frozen=True, slots=True)
class Context:
    """What a task's own `train(model, dataset, context)` is given beside the model and the data."""

    client: Client
    setting: Setting

    @property
    def round(self) -> int:
        return self.setting.job_round

    @property
    def train(self) -> TrainSpec:
        """The job's `[train]`."""
        return self.setting.train

    @property
    def lr(self) -> float:
        """The rate of this round."""
        return self.setting.lr

    @property
    def device(self) -> torch.device:
        return self.setting.device

    def keep_going(self) -> bool:
        """To be asked before every batch; when False, return at once."""
        return self.setting.keep_going()

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer that `[train]` describes."""
        return make_optimizer(self.train, trainable(model), self.lr)

    def batches(self, dataset: Dataset[Any]) -> Iterator[Batch]:
        """The batches that Warren's own loop would take: `inputs`, `target`, `count`, on the device."""
        return batches_of(dataset, self.setting)


def trainable(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def portion(train: TrainSpec, examples: int, share: float | None) -> TrainSpec:
    """The job's local work times a client's share of it, in steps; at least one."""
    if share is None:
        return train
    batches = -(-examples // train.batch_size) if train.batch_size else 1
    whole = train.steps or train.epochs * max(1, batches)
    return train.model_copy(update={"steps": max(1, round(share * whole))})


def batches_of(dataset: Dataset[Any], setting: Setting) -> Iterator[Batch]:
    """So many epochs or steps of batches; each epoch in an order of its own."""
    train = setting.train
    batches = Batches(dataset, setting.placing)
    left = train.steps
    for number, order in enumerate(draw(dataset, setting.order_seed, shuffle=train.shuffle)):
        if left is None and number == train.epochs:
            return
        for batch in batches.epoch(order, train.batch_size):
            if left is not None:
                if left == 0:
                    return
                left -= 1
            yield batch


def train_weights(
    model: nn.Module,
    dataset: Dataset[Any],
    setting: Setting,
    rule: Rule | None = None,
    origin: Sequence[torch.Tensor] | None = None,
) -> Learned:
    """Train in place, with a fresh optimizer.

    With `mu` above 0 the objective is FedProx's, loss + mu/2 ||w - w_0||^2, w_0 the weights at the start (or
    `origin`, in the order of the trained parameters); the loss that is reported leaves the term out. A rule
    corrects the gradient before that term is added; the gradient is clipped after both.
    """
    model.train()
    parameters = trainable(model)
    optimizer = make_optimizer(setting.train, parameters, setting.lr)
    start = _origin(parameters, origin) if setting.train.mu else []
    with setting.precision():  # an impossible precision is told before any work
        scaler = torch.amp.GradScaler(setting.device.type, enabled=setting.train.precision == "fp16")
    if rule is not None:
        rule.take_up(optimizer)
    tally, steps = LossTally(), 0
    for batch in batches_of(dataset, setting):
        setting.poll()
        loss = _fresh_loss(model, parameters, batch, setting)
        tally.add(loss, batch.count)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.unscale_(optimizer)  # nothing but with fp16, as the rest of the scaler
        if rule is not None:
            rule.correct(partial(_once_more, model, parameters, batch, setting))
        _pull(parameters, start, setting.train.mu)
        _clip(parameters, setting.train.clip)
        _step(optimizer, scaler)
        steps += 1
    left = Left() if rule is None else rule.end(steps)
    return Learned(length(dataset), {"loss": tally.mean()}, left)


def gradient(model: nn.Module, dataset: Dataset[Any], setting: Setting) -> Learned:
    """Leave in each parameter's `grad` the gradient of the mean loss at the weights given.

    Over one batch of `batch_size`, or `accumulate` of them, each weighted by its examples: what counts is the
    mean over all examples drawn. They are drawn without replacement by the setting's seed; a client with
    fewer gives all it has. Epochs, steps, mu and the local optimizer have no part in it.
    """
    model.train()
    parameters = trainable(model)
    for parameter in parameters:
        parameter.grad = None
    train = setting.train
    order = next(draw(dataset, setting.order_seed, shuffle=train.shuffle))
    chosen = order[: train.batch_size * train.accumulate] if train.batch_size else order
    scale = FP16_SCALE if train.precision == "fp16" else 1.0
    tally = LossTally()
    for batch in Batches(dataset, setting.placing).epoch(chosen, train.batch_size):
        setting.poll()
        loss = _loss(model, batch, setting)
        tally.add(loss, batch.count)
        (loss * (scale * batch.count / len(chosen))).backward()  # type: ignore[no-untyped-call]
    for parameter in parameters if scale != 1 else ():
        if parameter.grad is not None:
            parameter.grad.div_(scale)
    _clip(parameters, train.clip)
    return Learned(len(chosen), {"loss": tally.mean()})


def train_own(
    train: Callable[..., Any], model: nn.Module, dataset: Dataset[Any], client: Client, setting: Setting
) -> Learned:
    """The task's own `train(model, dataset, context)`; it may return a dict of metrics."""
    setting.poll()
    model.train()
    result = train(model, dataset, Context(client, setting))
    setting.poll()  # a loop that returned early because it was told to has no result
    metrics = {} if result is None else result
    if not isinstance(metrics, Mapping):
        raise TaskError(f"train() must return a dict of numbers or nothing, got {type(metrics).__name__}")
    return Learned(length(dataset), {str(name): float(value) for name, value in metrics.items()})


def _origin(parameters: Sequence[nn.Parameter], given: Sequence[torch.Tensor] | None) -> Sequence[torch.Tensor]:
    return [parameter.detach().clone() for parameter in parameters] if given is None else given


def _fresh_loss(model: nn.Module, parameters: Sequence[nn.Parameter], batch: Batch, setting: Setting) -> torch.Tensor:
    for parameter in parameters:
        parameter.grad = None
    return _loss(model, batch, setting)


def _once_more(model: nn.Module, parameters: Sequence[nn.Parameter], batch: Batch, setting: Setting) -> None:
    """The batch's gradient at the weights as they are now."""
    _fresh_loss(model, parameters, batch, setting).backward()  # type: ignore[no-untyped-call]


def _loss(model: nn.Module, batch: Batch, setting: Setting) -> torch.Tensor:
    with setting.precision():
        return setting.loss(model(batch.inputs), batch.target)


def _step(optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler) -> None:
    if scaler.is_enabled():
        scaler.step(optimizer)
        scaler.update()
    else:
        step(optimizer)


def _pull(parameters: Sequence[nn.Parameter], start: Sequence[torch.Tensor], mu: float) -> None:
    """Add the gradient of mu/2 ||w - w_0||^2: mu (w - w_0)."""
    for parameter, origin in zip(parameters, start, strict=False):  # no origins without mu
        if parameter.grad is not None:
            parameter.grad.add_(parameter.detach() - origin, alpha=mu)


def _clip(parameters: Sequence[nn.Parameter], norm: float | None) -> None:
    if norm is not None:
        nn.utils.clip_grad_norm_(parameters, norm)
