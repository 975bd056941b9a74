"""Works for the training process in tests: a folder with a task file, a checkpoint, and orders upon them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warren.broker.messages import Kind
from warren.storage.job import JobSpec, make_spec
from warren.trainer.wire import Work

TASK = """\
import torch
from torch import nn
from torch.utils.data import TensorDataset

def model(hidden=8):
    return nn.Sequential(nn.Linear(5, hidden), nn.ReLU(), nn.Dropout(0.25), nn.Linear(hidden, 3))

def data(client, rows=40):
    chance = torch.Generator().manual_seed(client.index)
    x = torch.randn(rows, 5, generator=chance)
    return TensorDataset(x, x[:, :3].argmax(1))
"""


@dataclass(frozen=True)
class Place:
    """A folder with a task in it."""

    folder: Path
    task: Path

    @property
    def base(self) -> Path:
        return self.folder / "base.safetensors"

    def spec(self, **fields: Any) -> JobSpec:
        digest = hashlib.sha256(self.task.read_bytes()).hexdigest()
        task = {"name": self.task.stem, "file": self.task.name, "digest": digest}
        return make_spec({"job": "job", "task": task, "clients": 3, "seed": 7, **fields})

    def work(
        self,
        kind: Kind,
        *,
        client: str = "c000",
        job_round: int = 1,
        held_out: bool = False,
        output: str = "out",
        attempt: str = "a1",
        **fields: Any,
    ) -> Work:
        """An order; `fields` are the job's. An initial model becomes the base."""
        index = int(client[1:]) if client[1:].isdigit() else 0
        written = self.base if kind == "init" else self.folder / f"{output}.safetensors"
        base = None if kind == "init" else self.base
        number = 0 if kind == "init" else job_round
        spec = self.spec(**fields)
        return Work(kind, spec, number, client, index, 3, None, attempt, self.task, base, written, held_out)


def place(folder: Path, source: str = TASK, name: str = "task.py") -> Place:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(source)
    return Place(folder, folder / name)
