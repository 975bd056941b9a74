"""One work from its files to its outcome, inside the training process: load, train or evaluate, save."""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy
import torch

from ..storage.digests import digest_of, passing
from ..storage.job import JobSpec
from ..storage.rules import BESIDE, rule_name
from ..storage.tensors import Written
from ..storage.torch_tensors import held, map_file, save
from .batches import length, split
from .errors import NeedsGpu, TaskError
from .evaluate import evaluate
from .kept import BASES_KEPT, MODELS_KEPT, TASKS_KEPT, Kept, KeptData, KeptModel, Shares
from .layout import Layout, shared_part
from .lesson import Lesson, kept_tensors, seed_all
from .local import Learned, Setting, portion
from .losses import checked_loss, default_loss
from .packed import fed_back, save_packed
from .rules.personal import local_names, own, put, taken
from .seeds import Purpose, seed_of
from .task import Client, Task, load_task
from .task_calls import build_model, client_data, held_out_data, wanted_metrics
from .update import update_tensors
from .wire import EARLY_BYTES_MIN, Evaluated, Trained, Work, bounded_metrics


class Runner:
    """Runs works one after another on one device; keeps what the next may use again."""

    def __init__(self, device: torch.device, data_dir: Path | None, data_loader: Path | None) -> None:
        self._device = device
        self._data_dir = data_dir
        self._data_loader = data_loader
        self._tasks: Kept[Task] = Kept(TASKS_KEPT)
        self._models: Kept[KeptModel] = Kept(MODELS_KEPT)
        self._bases: Kept[Mapping[str, torch.Tensor]] = Kept(BASES_KEPT)
        self._data = KeptData()
        self._spoken: tuple[JobSpec | None, tuple[str, str]] = (None, ("", ""))

    def run(self, work: Work, keep_going: Callable[[], bool]) -> Trained | Evaluated:
        """Do the work. Raises what the task raises, and the room's errors."""
        if torch.get_num_threads() != work.spec.torch_threads:
            torch.set_num_threads(work.spec.torch_threads)
        if work.spec.needs == "gpu" and self._device.type != "cuda":
            raise NeedsGpu("the job needs a GPU, and this trainer runs on a CPU")
        task = self._task(work.task_path, work.spec.task.digest)
        if work.kind == "init":
            return self._initialise(work, task)
        if work.kind in ("evaluate", "test"):
            return self._evaluate(work, task, keep_going)
        return self._train(work, task, keep_going)

    def forget(self) -> None:
        """Give up all that is kept, and the device's memory with it."""
        self._models.clear()
        self._bases.clear()
        self._data.clear()
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _initialise(self, work: Work, task: Task) -> Trained:
        begun = time.perf_counter()
        key = self._model_key(work, task)
        self._models.drop(key)
        model = self._models.get(key, lambda: self._built(work, task))
        local = local_names(model.module, model.layout, work.spec.train)
        learned = Learned(0, {})
        return self._save(work, model.layout, model.layout.state, learned, None, time.perf_counter() - begun, local)

    def _train(self, work: Work, task: Task, keep_going: Callable[[], bool]) -> Trained:
        begun = time.perf_counter()
        client = self._client(work)
        dataset = self._shares(work, task, client).training
        model, base = self._started(work, task)
        local = local_names(model.module, model.layout, work.spec.train)
        kept = kept_tensors(work)
        setting = self._setting(work, task, keep_going)
        setting = replace(setting, train=portion(setting.train, length(dataset), work.share))
        lesson = Lesson(work, task, client, model, base, kept, dataset, setting)
        state = lesson.train_beside()
        put(model.layout, own(kept) if local else {})
        learned = lesson.train()
        model = self._kept_whole(work, task, model)
        shared = shared_part(model.layout, local)
        state |= {**taken(model.layout, local), **learned.left.state}  # before a delta uses the model up
        tensors = update_tensors(shared, work.spec.update, base) | _beside(learned)
        if work.spec.compress.feeds_back:
            tensors, rest = fed_back(work.spec.compress, tensors, shared.trainable, kept)
            state |= rest
        return self._save(work, shared, tensors, learned, state or None, time.perf_counter() - begun)

    def _evaluate(self, work: Work, task: Task, keep_going: Callable[[], bool]) -> Evaluated:
        client = self._client(work)
        if work.held_out:
            seed_all(seed_of(work.spec.seed, "data", client=work.client), self._device)
            source = self._data_task(task) if self._data_task(task).function("test_data") else task
            dataset = held_out_data(source, client, work.spec.data)
        else:
            dataset = self._shares(work, task, client).validation
        if dataset is None:
            return Evaluated(0, {})
        model, _ = self._started(work, task)
        put(model.layout, own(kept_tensors(work)))
        setting = self._setting(work, task, keep_going)
        wanted = wanted_metrics(task, work.spec.evaluate)
        size = work.spec.evaluate.batch_size
        found = evaluate(model.module, dataset, setting, batch_size=size, wanted=wanted)
        return Evaluated(found.examples, found.metrics, found.counts, wanted.names)

    def _task(self, path: Path, digest: str) -> Task:
        return self._tasks.get((str(path), digest), lambda: load_task(path, digest=digest))

    def _data_task(self, task: Task) -> Task:
        """Whose data() is asked: the site's own loader where the trainer was started with one."""
        loader = self._data_loader
        if loader is None:
            return task
        return self._tasks.get(str(loader), lambda: load_task(loader, needs=("data",)))

    def _client(self, work: Work) -> Client:
        seed = seed_of(work.spec.seed, "data")
        return Client(work.client, work.index, work.count, work.site, self._data_dir, seed)

    def _shares(self, work: Work, task: Task, client: Client) -> Shares:
        spec = work.spec
        key = (task.digest, client, self._said(spec)[1], spec.seed, spec.evaluate.share)

        def made() -> Shares:
            seed_all(seed_of(spec.seed, "data", client=client.name), self._device)
            dataset = client_data(self._data_task(task), client, spec.data)
            seed = seed_of(spec.seed, "validation", client=client.name)
            return Shares(*split(dataset, spec.evaluate.share, seed))

        return self._data.get(key, made)

    def _model_key(self, work: Work, task: Task) -> Hashable:
        return (task.digest, self._said(work.spec)[0], work.spec.seed, work.spec.train.precision)

    def _said(self, spec: JobSpec) -> tuple[str, str]:
        """What the job gives to model() and to data(), and what to data() alone, as keys of what is kept."""
        if self._spoken[0] is not spec:  # the works of a round share one
            both, data = (json.dumps(part, sort_keys=True) for part in ([spec.params, spec.data], spec.data))
            self._spoken = (spec, (both, data))
        return self._spoken[1]

    def _built(self, work: Work, task: Task) -> KeptModel:
        """The model as the job's seed makes it, the same in every process: built on the CPU, then moved."""
        seed_all(seed_of(work.spec.seed, "init"), self._device)
        module = build_model(task, work.spec.params, work.spec.data)
        if work.spec.train.precision == "fp64":
            module.double()
        return KeptModel.of(module.to(self._device))

    def _started(self, work: Work, task: Task) -> tuple[KeptModel, Mapping[str, torch.Tensor]]:
        """The model with the checkpoint in it, and the checkpoint."""
        assert work.base_path is not None, f"{work.kind} without a checkpoint"
        model = self._models.get(self._model_key(work, task), lambda: self._built(work, task))
        base = self._mapped(work.base_path)
        model.start_from(base)
        return model, base

    def _mapped(self, path: Path) -> Mapping[str, torch.Tensor]:
        """A checkpoint's tensors, kept mapped: a round's clients start from one, and each page faults once."""
        try:
            found = path.stat()
        except FileNotFoundError:
            return map_file(path)  # which says it in our words
        key = (str(path), found.st_ino, found.st_mtime_ns, found.st_size)
        return self._bases.get(key, lambda: map_file(path))

    def _setting(self, work: Work, task: Task, keep_going: Callable[[], bool]) -> Setting:
        own = task.function("loss")
        purpose: Purpose = "batch" if work.spec.update == "gradients" else "shuffle"
        return Setting(
            train=work.spec.train,
            job_round=work.job_round,
            order_seed=seed_of(work.spec.seed, purpose, job_round=work.job_round, client=work.client),
            device=self._device,
            loss=checked_loss(own) if own is not None else default_loss,
            keep_going=keep_going,
        )

    def _kept_whole(self, work: Work, task: Task, model: KeptModel) -> KeptModel:
        """The model after training, as the task's own loop may have put other tensors in the places of its own."""
        own_loop = task.function("train")
        if own_loop is None or model.whole():
            return model
        self._models.drop(self._model_key(work, task))
        changed = KeptModel.of(model.module)
        if changed.layout.state.keys() != model.layout.state.keys():
            raise task.mistake("train() must leave the model's tensors under the names that model() gave", own_loop)
        return changed

    def _save(
        self,
        work: Work,
        layout: Layout,
        tensors: Mapping[str, torch.Tensor],
        learned: Learned,
        state: Mapping[str, torch.Tensor] | None,
        seconds: float,
        local: frozenset[str] = frozenset(),
    ) -> Trained:
        """Write the update, before it what the client keeps: the update names it, and so implies it."""
        metrics = bounded_metrics(learned.metrics)
        if not all(numpy.isfinite(value) for value in metrics.values()):
            named = next(name for name in metrics if not numpy.isfinite(metrics[name]))
            raise TaskError(f"train() returned {metrics[named]} as {named!r}; metrics must be finite")
        facts = {
            "warren": "1",
            "job": work.spec.job,
            "round": str(work.job_round),
            "kind": work.kind,
            "client": work.client,
            "attempt": work.attempt,
            "examples": str(learned.examples),
            "metrics": json.dumps(metrics, sort_keys=True),
            "seconds": f"{seconds:.6f}",
            **self._machine(),
            **layout.metadata(),
        }
        if local:
            facts["local"] = json.dumps(sorted(local))
        if learned.left.terms:
            facts["terms"] = json.dumps(dict(learned.left.terms), sort_keys=True)
        kept = None
        if state is not None:
            names = {key: facts[key] for key in ("warren", "job", "round", "client", "attempt")}
            stored = save(work.state_output_path, state, {**names, "rule": rule_name(work.spec)}, passing)
            facts |= {"state": stored.digest, "state_bytes": str(stored.size)}
            kept = (work.state_output_path, stored.size, stored.digest)
        size = sum(tensor.nbytes for tensor in tensors.values())
        body = None if kept or size > work.inline else _inline(work, tensors, facts)
        if work.spec.compress.used and work.kind == "train":
            written = save_packed(work, tensors, layout.trainable, facts)
        elif body is not None:
            written = Written(len(body), digest_of(body, passing))
        else:
            wrote = work.wrote if kept is None and size >= EARLY_BYTES_MIN else None
            written = save(work.output_path, tensors, facts, passing, over=True, wrote=wrote)
        return Trained(work.output_path, written.size, written.digest, learned.examples, metrics, kept, body)

    def _machine(self) -> dict[str, str]:
        """The facts that equal bytes depend on beside the seed."""
        device = "cpu" if self._device.type == "cpu" else torch.cuda.get_device_name(self._device)
        return {
            "torch": torch.__version__,
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "threads": str(torch.get_num_threads()),
            "device": device,
        }


def _inline(work: Work, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, str]) -> bytes | None:
    """The update as bytes, where it may come with the answer; None where it is to be a file."""
    if work.spec.compress.used:
        return None
    body = held(tensors, facts)
    return body if len(body) <= work.inline else None


def _beside(learned: Learned) -> dict[str, torch.Tensor]:
    groups = learned.left.beside.items()
    return {f"{BESIDE}{group}/{name}": tensor for group, tensors in groups for name, tensor in tensors.items()}


def make_deterministic() -> None:
    """Choose the algorithms that give the same bytes each time, where there are any; before the GPU's use."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs for it
    torch.set_deterministic_debug_mode("warn")
    torch.backends.cudnn.benchmark = False
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # 5 % for debugging
