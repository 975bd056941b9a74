"""Layers that stay with the client: they are never part of an update, and a site's never leave its disk.

FedBN: Li et al. 2021, Federated Learning on Non-IID Features via Local Batch Normalization, algorithm 1: the
parameters and the statistics of every BatchNorm layer stay.
FedPer: Arivazhagan et al. 2019, Federated Learning with Personalization Layers, algorithms 1 and 2: the layers
that the job names stay, `train.local = ["head.*"]`.

A client that has kept nothing yet starts with the initial model's. The checkpoint holds these, unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

import torch
from torch import nn

from ...storage.job import TrainSpec
from ..errors import BaseMismatch, TaskError
from ..layout import Layout

OWN = "own/"  # begins a personal tensor's name in what the client keeps


def local_names(module: nn.Module, layout: Layout, train: TrainSpec) -> frozenset[str]:
    """The canonical names of the tensors that stay.

    Raises:
        TaskError: a pattern that names nothing, FedBN without BatchNorm, or nothing trained left to share.
    """
    names: set[str] = set()
    for pattern in train.local:
        found = {layout.tied.get(name, name) for name in (*layout.state, *layout.tied) if fnmatchcase(name, pattern)}
        if not found:
            raise TaskError(f"[train] local {pattern!r} names no tensor of the model; see its state_dict()")
        names |= found
    if train.rule == "fedbn":
        names |= _of_batch_norm(module, layout)
    if names and not set(layout.trainable) - names:
        raise TaskError("[train] local: all that is trained would stay with the clients, and nothing be averaged")
    return frozenset(names)


def _of_batch_norm(module: nn.Module, layout: Layout) -> set[str]:
    names: set[str] = set()
    for path, part in module.named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            inside = (f"{path}.{name}".lstrip(".") for name in part.state_dict())
            names |= {layout.tied.get(name, name) for name in inside}
    if not names:
        raise TaskError('[train] rule = "fedbn": the model has no BatchNorm layer')
    return names


def own(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The personal tensors of what a client kept."""
    return {name.removeprefix(OWN): tensor for name, tensor in state.items() if name.startswith(OWN)}


@torch.no_grad()
def put(layout: Layout, personal: Mapping[str, torch.Tensor]) -> None:
    """Copy personal tensors over the model's. Raises BaseMismatch."""
    for name, tensor in personal.items():
        mine = layout.state.get(name)
        if mine is None or mine.shape != tensor.shape or mine.dtype != tensor.dtype:
            raise BaseMismatch(f"{name}: what this client kept does not fit the model; the task or [params] changed")
        mine.copy_(tensor)


def taken(layout: Layout, names: frozenset[str]) -> dict[str, torch.Tensor]:
    """The model's tensors of these names, as a client keeps them: copies."""
    return {f"{OWN}{name}": layout.state[name].detach().clone() for name in sorted(names)}
