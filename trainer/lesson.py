"""One client's training in one round under the job's local rule: what is trained, and by whose loop."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy
import torch
from torch.utils.data import Dataset

from ..storage.rules import rule_name, rule_of
from ..storage.tensors import read_header
from ..storage.torch_tensors import map_file
from .evaluate import evaluate
from .kept import KeptModel
from .local import Learned, Setting, gradient, train_own, train_weights
from .rules.choosing import make_rule
from .rules.ditto import train_personal
from .rules.rule import Given, Rule
from .seeds import NUMPY_SEED_MASK, Purpose, seed_of
from .task import Client, Task
from .wire import Work

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Lesson:
    """All that the training follows from, built and fetched.

    Attributes:
        model: it stands at `base`, with the client's own layers in it where some stay.
        base: the checkpoint, by name.
        kept: what the client kept; empty before its first update that counted.
    """

    work: Work
    task: Task
    client: Client
    model: KeptModel
    base: Tensors
    kept: Tensors
    dataset: Dataset[Any]
    setting: Setting

    def train_beside(self) -> dict[str, torch.Tensor]:
        """What a rule trains beside the model, before it, so that the model is trained as if there were none.

        Ditto's personal model; the model is put back to the checkpoint. What the client keeps of it.
        """
        if self.work.spec.train.rule != "ditto":
            return {}
        self.seed("personal")
        order = self._seed_of("personal order")
        setting = replace(self.setting, order_seed=order)
        state = train_personal(self.model, self.base, self.kept, self.dataset, setting)
        self.model.start_from(self.base)
        return state

    def train(self) -> Learned:
        """Train by the task's own loop or by ours. Raises TaskError."""
        own, spec = self.task.function("train"), self.work.spec
        if own is not None and spec.update == "gradients":
            raise self.task.mistake('train() makes weights: set update = "weights" or "delta"', own)
        if own is not None and rule_of(spec).ours:
            raise self.task.mistake(f"train() of a task's own can't follow {rule_name(spec)}: leave it to Warren", own)
        rule = self._rule()
        self.seed("train")
        if spec.update == "gradients":
            return gradient(self.model.module, self.dataset, self.setting)
        if own is None:
            return train_weights(self.model.module, self.dataset, self.setting, rule)
        learned = train_own(own, self.model.module, self.dataset, self.client, self.setting)
        return learned if rule is None else replace(learned, left=rule.end(0))

    def seed(self, purpose: Purpose) -> None:
        """Seed every generator that a task may draw from, for this client and round."""
        seed_all(self._seed_of(purpose), self.setting.device)

    def _seed_of(self, purpose: Purpose) -> int:
        work = self.work
        return seed_of(work.spec.seed, purpose, job_round=work.job_round, client=work.client)

    def _rule(self) -> Rule | None:
        layout, spec = self.model.layout, self.work.spec
        parameters = {name: layout.state[name] for name in layout.trainable}
        server = {} if self.work.server_path is None else map_file(self.work.server_path)
        setting = self.setting
        given = Given(parameters, self.base, self.kept, server, spec, setting.lr, self.model.module, setting.job_round)
        rule = make_rule(given)
        if rule is not None:
            rule.begin(self._loss)
        return rule

    def _loss(self) -> float:
        size = self.work.spec.evaluate.batch_size
        return evaluate(self.model.module, self.dataset, self.setting, batch_size=size).metrics["loss"]


def kept_tensors(work: Work) -> Tensors:
    """What the client kept; nothing where it is another rule's, in a fork that changed the algorithm."""
    if work.state_path is None:
        return {}
    header = read_header(work.state_path)
    return map_file(work.state_path, header) if header.metadata.get("rule") == rule_name(work.spec) else {}


def seed_all(seed: int, device: torch.device) -> None:
    """Every generator that a task may draw from without naming it.

    `torch.manual_seed` also queues the seed for accelerators that are not there: 2 ms and some memory each time.
    """
    random.seed(seed)
    numpy.random.seed(seed & NUMPY_SEED_MASK)
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
