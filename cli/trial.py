"""One client's first batch, as a training process would do it, and measured. Imports torch."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, Subset

from ..storage.job import JobSpec
from ..storage.rules import rule_name, rule_of
from ..storage.torch_tensors import save
from ..trainer.batches import Batch, Batches, Placing, length, split
from ..trainer.errors import NeedsGpu
from ..trainer.evaluate import evaluate
from ..trainer.layout import layout_of, shared_part
from ..trainer.local import Setting, gradient, train_own, train_weights
from ..trainer.losses import checked_loss, default_loss
from ..trainer.optimizers import spare_the_compiler
from ..trainer.process_child import choose_device
from ..trainer.rules.personal import local_names
from ..trainer.seeds import seed_of
from ..trainer.task import Client, load_task
from ..trainer.task_calls import build_model, client_data, held_out_data, wanted_metrics
from .task_source import TaskSource

TIMED_STEPS = 5  # the median of them, after one that warms up
TIMED_SECONDS = 5.0  # no further step after so long
LABELS_READ_MAX = 200_000  # of one client
LABELS_AT_ONCE = 1024  # examples are read with their inputs


class Trial:
    """A task, loaded once, for a few looks at it."""

    def __init__(self, spec: JobSpec, source: TaskSource, device: str, data_dir: Path | None) -> None:
        spare_the_compiler()  # a step's first use of torch.optim would import it, for seconds
        self._spec = spec
        self._device = choose_device(device)
        self._data_dir = data_dir
        if spec.needs == "gpu" and self._device.type != "cuda":
            raise NeedsGpu('the job says needs = "gpu", and this machine trains on a CPU')
        torch.set_num_threads(spec.torch_threads)
        with tempfile.TemporaryDirectory(prefix="warren-") as folder:
            path = Path(folder) / source.file
            path.write_bytes(source.body)
            self._task = load_task(path, digest=source.digest)

    def run(self, index: int) -> dict[str, Any]:
        """Everything that `warren check` says, as JSON can hold it. Raises what the task raises."""
        spec = self._spec
        model, client = self._model(), self._client(index)
        training, validation = split(
            self._data(client), spec.evaluate.share, seed_of(spec.seed, "validation", client=client.name)
        )
        held_out = held_out_data(self._task, client, spec.data)
        batch = self._batch(training)
        setting = self._setting()
        before = self._measured(model, training, setting)
        outputs = self._outputs(model, batch)
        seconds = self._timed(model, training, setting, client)
        after = None if spec.update == "gradients" else self._measured(model, training, setting)["loss"]
        layout = layout_of(model)
        parameters = list(model.parameters())
        return {
            "task": self._task.file,
            "device": str(self._device),
            "parameters": sum(parameter.numel() for parameter in parameters),
            "trained": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
            "tensors": len(layout.state),
            "client": client.name,
            "examples": length(training),
            "validation": 0 if validation is None else length(validation),
            "held_out": None if held_out is None else length(held_out),
            "inputs": _shape(batch.inputs),
            "targets": _shape(batch.target),
            "outputs": outputs,
            "loss_before": before.pop("loss"),
            "loss_after": after,
            "metrics": before,
            "seconds_a_step": seconds,
            "steps_a_round": self._steps(length(training)),
            "update_bytes": self._bytes(model),
        }

    def plot(self) -> bytes:
        """Which client holds how much of which class, as PNG."""
        from .partition_plot import partition_png

        names = self._spec.client_names
        labels = [_labels(self._data(self._client(index))) for index in range(len(names))]
        return partition_png(names, labels, title=f"{self._task.file}: {len(names)} clients")

    def _model(self) -> nn.Module:
        _seed(seed_of(self._spec.seed, "init"))
        model = build_model(self._task, self._spec.params, self._spec.data)
        if self._spec.train.precision == "fp64":
            model.double()
        layout = layout_of(model)  # lazy parameters and tensors that no update can carry are named here
        local_names(model, layout, self._spec.train)  # and layers that can't stay with the client
        return model.to(self._device)

    def _client(self, index: int) -> Client:
        spec = self._spec
        name = spec.client_names[index]
        site = name if spec.sites else None
        return Client(name, index, len(spec.client_names), site, self._data_dir, seed_of(spec.seed, "data"))

    def _data(self, client: Client) -> Dataset[Any]:
        _seed(seed_of(self._spec.seed, "data", client=client.name))
        return client_data(self._task, client, self._spec.data)

    def _setting(self) -> Setting:
        own = self._task.function("loss")
        train = self._spec.train.model_copy(update={"steps": 1, "shuffle": False, "accumulate": 1})
        loss = checked_loss(own) if own is not None else default_loss
        return Setting(train=train, job_round=1, order_seed=0, device=self._device, loss=loss)

    def _batch(self, dataset: Dataset[Any]) -> Batch:
        size = self._spec.train.batch_size or length(dataset)
        return Batches(dataset, self._setting().placing).read(torch.arange(min(size, length(dataset))))

    def _first(self, dataset: Dataset[Any]) -> Dataset[Any]:
        size = self._spec.train.batch_size or length(dataset)
        return Subset(dataset, list(range(min(size, length(dataset)))))

    def _measured(self, model: nn.Module, dataset: Dataset[Any], setting: Setting) -> dict[str, float]:
        """The loss and the metrics on the first batch."""
        wanted = wanted_metrics(self._task, self._spec.evaluate)
        first = self._first(dataset)
        return dict(evaluate(model, first, setting, batch_size=length(first), wanted=wanted).metrics)

    def _outputs(self, model: nn.Module, batch: Batch) -> str:
        with torch.no_grad(), self._setting().precision():
            return _shape(model(batch.inputs))

    def _timed(self, model: nn.Module, dataset: Dataset[Any], setting: Setting, client: Client) -> float:
        """Seconds of one step, the median of a few. The model has taken one step after it, and not more."""
        took: list[float] = []
        state = None
        begun = time.perf_counter()
        for _ in range(TIMED_STEPS + 1):
            start = time.perf_counter()
            self._step(model, self._first(dataset), setting, client)
            took.append(time.perf_counter() - start)
            state = state or {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
            if len(took) > 1 and time.perf_counter() - begun > TIMED_SECONDS:
                break
        model.load_state_dict(state or {})
        return float(np.median(took[1:]))

    def _step(self, model: nn.Module, dataset: Dataset[Any], setting: Setting, client: Client) -> None:
        own = self._task.function("train")
        if own is not None and rule_of(self._spec).ours:
            raise self._task.mistake(f"train() of a task's own can't follow {rule_name(self._spec)}", own)
        if self._spec.update == "gradients":
            if own is not None:
                raise self._task.mistake('train() makes weights: set update = "weights" or "delta"', own)
            gradient(model, dataset, setting)
        elif own is not None:
            train_own(own, model, dataset, client, setting)
        else:
            train_weights(model, dataset, setting)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _steps(self, examples: int) -> int:
        train = self._spec.train
        batches = -(-examples // train.batch_size) if train.batch_size else 1
        if self._spec.update == "gradients":
            return min(train.accumulate, batches)
        return train.steps or train.epochs * batches

    def _bytes(self, model: nn.Module) -> int:
        """The size of an update's file: of each kind the same, without its own facts, which are below 2 kB."""
        layout = layout_of(model)
        layout = shared_part(layout, local_names(model, layout, self._spec.train))
        sends = rule_of(self._spec).sends
        beside = {f"{group} {name}": layout.state[name] for group in sends for name in layout.trainable}
        with tempfile.TemporaryDirectory(prefix="warren-") as folder:
            return save(Path(folder) / "update.safetensors", {**layout.state, **beside}, layout.metadata()).size


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed & 0xFFFF_FFFF)


def _shape(value: Any) -> str:
    """`float32 (16, 8, 8)`; the parts of lists and dicts by name."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} ({', '.join(map(str, value.shape))})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_shape(part)}" for key, part in list(value.items())[:8]) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_shape, value[:8])) + "]"
    return type(value).__name__


def _labels(dataset: Dataset[Any]) -> Sequence[Any]:
    """Each example's target where it is one number or word; else nothing to tell them apart by."""
    batches = Batches(dataset, Placing(torch.device("cpu"), double=True))
    rows = torch.arange(min(length(dataset), LABELS_READ_MAX))
    target = np.concatenate([np.asarray(batches.read(part).target) for part in torch.split(rows, LABELS_AT_ONCE)])
    return target.reshape(-1).tolist() if target.size == len(target) else [""] * len(target)
