"""What a training process keeps between one work and the next: loaded tasks, built models, clients' data."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import nn
from torch.utils.data import Dataset, Subset, TensorDataset

from .layout import Layout, layout_of, load_state

TASKS_KEPT = 8
MODELS_KEPT = 2  # the job at hand, and one that takes turns with it
BASES_KEPT = 1  # mapped checkpoints
CLIENTS_KEPT = 1_024
CLIENT_BYTES_KEPT = 1 << 30  # of all clients' tensors together; shared ones count once
UNKNOWN_BYTES = 64 << 20  # what a dataset that can't be looked into is taken for

V = TypeVar("V")


class Kept(Generic[V]):
    """The values used last, at most so many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[Hashable, V] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        if key not in self._values:
            self.put(key, make())
        self._values.move_to_end(key)
        return self._values[key]

    def put(self, key: Hashable, value: V) -> None:
        self._values[key] = value
        while len(self._values) > self._most:
            self._values.popitem(last=False)

    def drop(self, key: Hashable) -> None:
        self._values.pop(key, None)

    def clear(self) -> None:
        self._values.clear()


@dataclass(frozen=True, slots=True)
class KeptModel:
    """A built model, and what must be put back before it is used again."""

    module: nn.Module
    layout: Layout
    aside: Mapping[str, torch.Tensor]  # buffers that no checkpoint holds, as they were built

    @classmethod
    def of(cls, module: nn.Module) -> KeptModel:
        layout = layout_of(module)
        known = {id(tensor) for tensor in layout.state.values()}
        buffers = module.named_buffers(remove_duplicate=True)
        return cls(module, layout, {name: b.detach().clone() for name, b in buffers if id(b) not in known})

    @torch.no_grad()
    def start_from(self, base: Mapping[str, torch.Tensor]) -> None:
        """Put every tensor where the checkpoint has it, so that nothing of an earlier work is left."""
        load_state(self.layout, base)
        buffers = dict(self.module.named_buffers())
        for name, built in self.aside.items():
            buffers[name].copy_(built)
        trainable = set(self.layout.trainable)
        for name, tensor in self.layout.state.items():
            if isinstance(tensor, nn.Parameter):
                tensor.requires_grad_(name in trainable)
                tensor.grad = None

    def whole(self) -> bool:
        """Whether the module still is the one that was built: its tensors, under its names."""
        now = layout_of(self.module).state
        return now.keys() == self.layout.state.keys() and all(
            now[name] is tensor for name, tensor in self.layout.state.items()
        )


@dataclass(frozen=True, slots=True)
class Shares:
    """One client's data."""

    training: Dataset[Any]
    validation: Dataset[Any] | None


class KeptData:
    """The clients' data used last, bounded in number and in bytes, so that a thousand clients cost little."""

    def __init__(self) -> None:
        self._shares: OrderedDict[Hashable, tuple[Shares, dict[int, int]]] = OrderedDict()
        self._users: Counter[int] = Counter()  # by the address of a storage: how many clients use it
        self._bytes = 0

    def get(self, key: Hashable, make: Callable[[], Shares]) -> Shares:
        if key not in self._shares:
            self._put(key, make())
        self._shares.move_to_end(key)
        return self._shares[key][0]

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]

    def _put(self, key: Hashable, shares: Shares) -> None:
        sizes = dict(_storages(shares.training))
        self._shares[key] = (shares, sizes)
        for address, size in sizes.items():
            self._bytes += 0 if self._users[address] else size
            self._users[address] += 1
        while len(self._shares) > 1 and (len(self._shares) > CLIENTS_KEPT or self._bytes > CLIENT_BYTES_KEPT):
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, (_, sizes) = self._shares.popitem(last=False)
        for address, size in sizes.items():
            self._users[address] -= 1
            if not self._users[address]:
                del self._users[address]
                self._bytes -= size


def _storages(dataset: Dataset[Any]) -> Iterator[tuple[int, int]]:
    """(address, bytes) of all that a dataset holds in memory, as far as it can be seen."""
    if isinstance(dataset, Subset):
        yield id(dataset.indices), 8 * len(dataset.indices)
        yield from _storages(dataset.dataset)
    elif isinstance(dataset, TensorDataset):
        for tensor in dataset.tensors:
            yield tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()
    else:
        yield id(dataset), UNKNOWN_BYTES
