"""The small jobs of these tests: a task with dropout, whose data can be told to wait, to dawdle or to kill."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TASK = '''"""Three blobs of points; a model with dropout. A test steers the training through `gate`."""
import os, signal, time
from pathlib import Path
import torch
from torch.utils.data import Dataset, TensorDataset


def model(hidden=24):
    layers = torch.nn.Linear(8, hidden), torch.nn.ReLU(), torch.nn.Dropout(0.3), torch.nn.Linear(hidden, 3)
    return torch.nn.Sequential(*layers)


def points(seed, count):
    chance = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.randint(0, 3, (count,), generator=chance)
    return TensorDataset(centres[labels] + torch.randn(count, 8, generator=chance), labels)


class Steered(Dataset):
    def __init__(self, rows, name, gate, poison):
        self.rows, self.name, self.gate, self.poison = rows, name, Path(gate), poison

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        if self.name == self.poison:
            os.killpg(0, signal.SIGKILL)  # the trainer and all that belongs to it
        (self.gate / f"reached-{self.name}").touch()
        while any((self.gate / hold).exists() for hold in ("hold", f"hold-{self.name}")):
            time.sleep(0.01)
        if (self.gate / "slow").exists():
            time.sleep(0.01)
        return self.rows[index]


def data(client, gate="", poison=""):
    rows = points(100 + client.index, 48 + 8 * client.index)
    return Steered(rows, client.name, gate, poison) if gate else rows


def test_data():
    return points(7, 200)
'''

EXTENDING: Mapping[str, Any] = {"quorum": "100%", "below_quorum": "extend", "max_extensions": 100}


def write_job(folder: Path, *, gate: Path | None = None, source: str = TASK, **fields: Any) -> Path:
    """A job file beside its task: four clients, three rounds, and what `fields` say (tables as mappings).

    Args:
        folder: made if missing.
        gate: the folder through which the task is steered; made if missing.
        source: the task's.
        fields: of the job file; they replace the defaults.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "points.py").write_text(source)
    job: dict[str, Any] = {"task": "points.py", "rounds": 3, "deadline": "60s", "seed": 11, **fields}
    if "sites" not in job:
        job.setdefault("clients", 4)
    tables: dict[str, Any] = {"train": {"lr": 0.1, "batch_size": 16}}
    tables |= {name: job.pop(name) for name in list(job) if isinstance(job[name], Mapping)}
    if gate is not None:
        gate.mkdir(parents=True, exist_ok=True)
        tables["data"] = {"gate": str(gate), **tables.get("data", {})}
    lines = [f"{name} = {json.dumps(value)}" for name, value in job.items()]
    for table, options in tables.items():
        lines += [f"[{table}]", *(f"{name} = {json.dumps(value)}" for name, value in options.items())]
    path = folder / "job.toml"
    path.write_text("\n".join(lines) + "\n")
    return path
