"""Whether a job's local rule fits the rest of the job: asked at submit time, answered without torch."""

from __future__ import annotations

from collections.abc import Iterator

from ...storage.errors import SpecInvalid
from ...storage.job import JobSpec, TrainSpec
from ...storage.rules import OF_STRATEGY, rule_name, rule_of

_WITH_LOCAL = ("fedper", "fedbn", "fedsam")


def check_rule(spec: JobSpec) -> None:
    """See that the rule can be followed.

    Raises:
        SpecInvalid: a combination that means nothing; the words say how to mend it.
    """
    for complaint in _complaints(spec):
        raise SpecInvalid(complaint)


def _complaints(spec: JobSpec) -> Iterator[str]:
    name, train = rule_name(spec), spec.train
    if name and spec.update == "gradients":
        yield f'update: "gradients" are of one batch, and {name} is about training: choose "weights" or "delta".'
    if name in OF_STRATEGY and (train.rule or train.local):
        field = "rule" if train.rule else "local"
        yield f"train.{field}: strategy {name} brings its own rule for the clients; leave it out."
    if name in OF_STRATEGY and spec.reducer.name != "average":
        yield f"reducer.name: {name} is a formula of its own over the average; a robust reducer has no part in it."
    if spec.compress.feeds_back and spec.schedule.asynchronous:
        yield "compress.error_feedback: what a client keeps goes with rounds; set it to false, or choose another way."
    elif (name in OF_STRATEGY or rule_of(spec).keeps != "nothing") and spec.schedule.asynchronous:
        yield f'schedule.kind: {name} is about rounds that all begin with one model: choose "synchronous".'
    if name == "diloco" and not train.steps and any(spec.strategy.options.get(key) for key in ("warmup", "decay")):
        yield "train.steps: diloco's schedule counts inner steps over all rounds: say how many a round has."
    yield from _of_options(train)
    if name in ("scaffold", "fednova"):
        yield from _needs_plain_sgd(name, train)
    if name in ("scaffold", "feddyn") and train.mu:
        yield f"train.mu: {name} corrects the local steps in its own way; leave FedProx's term out."
    if name == "fednova" and max(_rates(train)) * train.mu >= 1:
        yield "train.mu: FedNova needs lr x mu below 1."
    if name == "fedsam" and train.precision == "fp16":
        yield 'train.precision: fedsam takes two gradients a step, which fp16 scales apart: choose "bf16" or "fp32".'


def _of_options(train: TrainSpec) -> Iterator[str]:
    if train.rule == "fedper" and not train.local:
        yield 'train.local: fedper needs the names of the layers that stay, such as local = ["head.*"].'
    if train.local and train.rule and train.rule not in _WITH_LOCAL:
        yield f"train.local: {train.rule} keeps a whole model of its own with the client; leave local out."
    for field, rule in (("lam", "ditto"), ("rho", "fedsam")):
        if getattr(train, field) != TrainSpec.model_fields[field].default and train.rule != rule:
            yield f'train.{field}: only rule = "{rule}" has it.'


def _needs_plain_sgd(name: str, train: TrainSpec) -> Iterator[str]:
    """Both know what a local step is: a gradient times the rate (FedNova: with momentum)."""
    if train.optimizer.lower() != "sgd" or train.options:
        yield f'train.optimizer: {name} is about plain SGD: optimizer = "sgd", without further options.'
    if name == "scaffold" and train.momentum:
        yield "train.momentum: scaffold's control is a mean of gradients, which momentum would mix: leave it out."
    if name == "scaffold" and train.clip is not None:
        yield "train.clip: scaffold's control is a mean of the gradients as they were: leave clip out."
    if train.precision == "fp16":
        yield f'train.precision: {name} counts steps, and fp16 skips some: choose "bf16" or "fp32".'


def _rates(train: TrainSpec) -> list[float]:
    return list(train.lr.values()) if isinstance(train.lr, dict) else [float(train.lr)]
