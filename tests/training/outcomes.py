"""What a training process answered, as the tests want it; and a task with a line of it changed."""

from __future__ import annotations

from pathlib import Path

import torch
from training.works import TASK, Place, place

from warren.storage.torch_tensors import map_file
from warren.trainer.process import TaskFailed, Trained


def go_on() -> bool:
    return True


def altered(tmp_path: Path, old: str, new: str) -> Place:
    assert old in TASK
    return place(tmp_path, TASK.replace(old, new))


def trained(outcome: object) -> Trained:
    assert isinstance(outcome, Trained), outcome
    return outcome


def failed(outcome: object) -> TaskFailed:
    assert isinstance(outcome, TaskFailed), outcome
    return outcome


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in map_file(path).items()}
