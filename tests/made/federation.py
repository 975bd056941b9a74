"""A federation without servers: real training, real intake and averaging over a folder, one call a round."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from warren.aggregator.averaging import Averaging
from warren.aggregator.client_states import ClientStates
from warren.broker.messages import Kind
from warren.storage import keys
from warren.storage.documents import Base, Entry, Manifest, write_document
from warren.storage.folder import FolderStore
from warren.storage.job import JobSpec, make_spec, write_spec
from warren.storage.keys import UpdateName
from warren.storage.torch_tensors import map_file
from warren.trainer.runner import Runner
from warren.trainer.wire import Evaluated, Trained, Work


class Federation:
    """One job, led round by round by the test."""

    def __init__(self, folder: Path, source: str, **fields: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.task = folder / "task.py"
        self.task.write_text(source)
        digest = hashlib.sha256(source.encode()).hexdigest()
        task = {"name": "task", "file": "task.py", "digest": digest}
        self.spec: JobSpec = make_spec({"job": "j", "task": task, "rounds": 99, "seed": 5, **fields})
        self.store = FolderStore(folder / "store")
        self.store.create(keys.spec("j"), write_spec(self.spec))
        self.numbers = Averaging(self.store, folder / "scratch")
        self.runner = Runner(torch.device("cpu"), None, None)
        self.states = ClientStates(self.spec)
        self.round = 0
        self._out = folder / "out.safetensors"
        self._attempts = 0
        self._freeze([self.train(self.spec.client_names[0])])

    def run(self, counted: Collection[str], lost: Collection[str] = ()) -> Manifest:
        """The next round: all of these train; the lost ones' updates come too late."""
        for client in lost:
            self.train(client)
        return self._freeze([self.train(client) for client in sorted(counted)])

    def train(self, client: str) -> Entry:
        """One attempt of a client in the round at hand: stored as a worker does, and examined."""
        work = self.work("train" if self.round else "init", client)
        told = self.runner.run(work, lambda: True)
        assert isinstance(told, Trained)
        if told.state is not None:
            self.store.create(keys.client_state("j", client, self.round, work.attempt), told.state[0])
        name = UpdateName("j", self.round, self.spec.source_of(client), client, work.attempt)
        key = keys.update("j", name.round, name.source, name.client, name.attempt)
        self.store.create(key, told.path)
        base = self.numbers.base("j", self.round - 1) if self.round else None
        return self.numbers.examine(name, self.spec, base, told.digest)

    def evaluate(self, client: str) -> Evaluated:
        """The client's validation share on the last checkpoint."""
        told = self.runner.run(self.work("evaluate", client), lambda: True)
        assert isinstance(told, Evaluated)
        return told

    def work(self, kind: Kind, client: str) -> Work:
        """The order that a round job for this client comes to."""
        self._attempts += 1
        names, before = self.spec.client_names, self.round - 1
        return Work(
            kind=kind,
            spec=self.spec,
            job_round=self.round,
            client=client,
            index=names.index(client),
            count=len(names),
            site=client if self.spec.sites else None,
            attempt=f"a{self._attempts}",
            task_path=self.task,
            base_path=self._file(self.numbers.base("j", before)) if self.round else None,
            output_path=self._out,
            state_path=self._file(self.states.of(client, before)),
            server_path=self._file(self.numbers.server("j", before)) if self.round else None,
        )

    def model(self) -> dict[str, torch.Tensor]:
        """The last checkpoint."""
        return self.tensors(keys.checkpoint("j", self.round - 1))

    def kept(self, client: str) -> dict[str, torch.Tensor]:
        """What the client kept with its last update that counted."""
        base = self.states.of(client, self.round)
        return {} if base is None else self.tensors(base.key)

    def tensors(self, key: str) -> dict[str, torch.Tensor]:
        path = self.store.local_path(key)
        assert path is not None
        return {name: tensor.clone() for name, tensor in map_file(path).items()}

    def _freeze(self, entries: list[Entry]) -> Manifest:
        base = self.numbers.base("j", self.round - 1) if self.round else None
        manifest = Manifest(job="j", round=self.round, base=base, entries=tuple(entries))
        self.store.create(keys.manifest("j", self.round), write_document(manifest))
        self.numbers.write(self.spec, manifest)
        self.states.note(manifest)
        self.round += 1
        return manifest

    def _file(self, base: Base | None) -> Path | None:
        return None if base is None else self.store.local_path(base.key)


def flat(tensors: dict[str, torch.Tensor], prefix: str = "") -> np.ndarray:
    """The tensors whose names begin so, in name order, as one float64 vector."""
    chosen = [tensors[name].double().flatten().numpy() for name in sorted(tensors) if name.startswith(prefix)]
    return np.concatenate(chosen)
