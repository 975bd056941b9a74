"""The layout of a model's state: which tensors are trained, which carried, which are one under two names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from ..storage.torch_staging import CUDA, Link, to_device
from ..storage.torch_tensors import DTYPE_NAMES
from .errors import BaseMismatch, TaskError, UnsupportedDtype

LAYOUTS_KEPT = 4  # whose texts are kept


@dataclass(frozen=True, slots=True)
class Layout:
    """A module's state by canonical name: of several names of one tensor, the first in sorted order.

    Attributes:
        state: every tensor of the state once, in name order; the module's own, not copies.
        trainable: names of the parameters that are trained.
        tied: every further name, to its canonical one.
    """

    state: Mapping[str, torch.Tensor]
    trainable: tuple[str, ...]
    tied: Mapping[str, str]

    def metadata(self) -> dict[str, str]:
        """`trainable` and `tied` as an update's metadata carry them."""
        trainable, tied = _texts(self.trainable, tuple(sorted(self.tied.items())))
        return {"trainable": trainable, "tied": tied}


@lru_cache(maxsize=LAYOUTS_KEPT)
def _texts(trainable: tuple[str, ...], tied: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    """Written once: they are the same for all clients of a round."""
    return json.dumps(list(trainable)), json.dumps(dict(tied))


def shared_part(layout: Layout, local: frozenset[str]) -> Layout:
    """The layout without the tensors that stay with the client, as updates have it."""
    if not local:
        return layout
    state = {name: tensor for name, tensor in layout.state.items() if name not in local}
    trainable = tuple(name for name in layout.trainable if name not in local)
    return Layout(state, trainable, {alias: name for alias, name in layout.tied.items() if name not in local})


def layout_of(module: nn.Module) -> Layout:
    """Read the layout of a module.

    Raises:
        TaskError: state that is not a tensor, or a lazy parameter without a shape yet.
        UnsupportedDtype: a tensor that no update can carry (complex).
    """
    canonical: dict[int, str] = {}
    state: dict[str, torch.Tensor] = {}
    tied: dict[str, str] = {}
    for name, tensor in sorted(module.state_dict(keep_vars=True).items()):
        _check_carried(name, tensor)
        first = canonical.setdefault(id(tensor), name)
        if first == name:
            state[name] = tensor
        else:
            tied[name] = first
    trainable = tuple(name for name, tensor in state.items() if tensor.requires_grad)
    return Layout(state, trainable, tied)


@torch.no_grad()
def load_state(layout: Layout, base: Mapping[str, torch.Tensor], link: Link = CUDA) -> None:
    """Copy a checkpoint into the module's tensors, all of it: those on a device by the link. Raises BaseMismatch."""
    _check_names(layout, base)
    distant: list[tuple[torch.Tensor, torch.Tensor]] = []
    for name, tensor in layout.state.items():
        source = base[name]
        if source.shape != tensor.shape or source.dtype != tensor.dtype:
            raise BaseMismatch(
                f"{name}: the checkpoint has {_shown(source)}, model() makes {_shown(tensor)}; "
                "the task or its [params] changed"
            )
        if link.carries(tensor):
            distant.append((tensor, source))
        else:
            tensor.copy_(source)
    to_device(distant, link)


def _check_names(layout: Layout, base: Mapping[str, torch.Tensor]) -> None:
    missing = sorted(set(layout.state) - set(base))
    unknown = sorted(set(base) - set(layout.state) - set(layout.tied))
    if missing:
        raise BaseMismatch(f"the checkpoint has no tensor {missing[0]!r} that model() makes")
    if unknown:
        raise BaseMismatch(f"the checkpoint has a tensor {unknown[0]!r} that model() does not make")


def _check_carried(name: str, tensor: object) -> None:
    if not isinstance(tensor, torch.Tensor):
        raise TaskError(f"model() keeps state that is not a tensor: {name} is a {type(tensor).__name__}")
    if isinstance(tensor, (UninitializedParameter, UninitializedBuffer)):
        raise TaskError(f"model() must give every parameter its shape; {name} is lazy")
    if tensor.dtype not in DTYPE_NAMES or tensor.layout is not torch.strided:
        raise UnsupportedDtype(f"{name} is {tensor.layout} {tensor.dtype}: an update can't carry it")


def _shown(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
