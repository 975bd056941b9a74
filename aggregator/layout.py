"""The layout of a job's model as its files state it: what is trained, what is carried, what has two names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..storage.errors import ObjectDamaged
from ..storage.rules import BESIDE
from ..storage.tensors import FLOATING, Header, TensorSpec, shown


@dataclass(frozen=True, slots=True)
class Layout:
    """A model's state by canonical name; floating tensors are averaged, integers follow the first client.

    Attributes:
        tensors: every tensor once, without the further names of tied ones.
        trainable: names that are trained; all else is carried (buffers, frozen parameters).
        tied: each further name, to its canonical one.
        local: names that stay with the clients: the checkpoint has them as they began, updates lack them.
    """

    tensors: dict[str, TensorSpec]
    trainable: frozenset[str]
    tied: dict[str, str]
    local: frozenset[str] = frozenset()

    def of_update(self, sends: tuple[str, ...] = ()) -> Layout:
        """What an update to this model holds: no local tensors, and for each trained one those sent beside it."""
        if not self.local and not sends:
            return self
        tensors = {name: spec for name, spec in self.tensors.items() if name not in self.local}
        trainable = self.trainable - self.local
        for group in sends:
            names = {name: f"{BESIDE}{group}/{name}" for name in sorted(trainable)}
            tensors |= {beside: replace(tensors[name], name=beside) for name, beside in names.items()}
        return Layout(tensors, trainable, {a: name for a, name in self.tied.items() if name not in self.local})

    def same_as(self, other: Layout) -> str | None:
        """None where both describe one model; else the first difference, in words."""
        for name in sorted(self.tensors.keys() | other.tensors.keys()):
            mine, theirs = self.tensors.get(name), other.tensors.get(name)
            if mine is None:
                return f"tensor {shown(name)} is missing"
            if theirs is None:
                return f"tensor {shown(name)} is not in the model"
            if (mine.dtype, mine.shape) != (theirs.dtype, theirs.shape):
                return f"tensor {shown(name)} is {_form(mine)}, the model has {_form(theirs)}"
        if self.trainable != other.trainable:
            name = min(self.trainable ^ other.trainable)
            return f"tensor {shown(name)} is trained {'here' if name in self.trainable else 'in the model'} only"
        return None if self.tied == other.tied else "tied tensors are not those of the model"

    def metadata(self) -> dict[str, str]:
        """A checkpoint's metadata: nothing of job, time or host, so that equal models are equal bytes."""
        tied = json.dumps(dict(sorted(self.tied.items())), separators=(",", ":"))
        trainable = json.dumps(sorted(self.trainable), separators=(",", ":"))
        local = {"local": json.dumps(sorted(self.local), separators=(",", ":"))} if self.local else {}
        return {"format": "pt", "trainable": trainable, "tied": tied, **local}


def read_layout(header: Header, *, checkpoint: bool) -> Layout:
    """The layout from a file's header: a checkpoint holds tied tensors under every name, an update once.

    Raises:
        ObjectDamaged: the metadata is missing, unreadable, or does not fit the tensors.
    """
    trainable = _field(header.metadata, "trainable")
    tied = _field(header.metadata, "tied")
    tensors = dict(header.tensors)
    _check_tied(tied, tensors, checkpoint)
    for alias in tied:
        tensors.pop(alias, None)
    if not isinstance(trainable, list) or not all(isinstance(name, str) for name in trainable):
        raise ObjectDamaged("metadata: trainable is not a list of names")
    for name in trainable:
        if name not in tensors or tensors[name].dtype not in FLOATING:
            raise ObjectDamaged(f"metadata: trainable names {shown(name)}, which is no floating tensor here")
    local = _field(header.metadata, "local") if "local" in header.metadata else []
    if not isinstance(local, list) or not all(isinstance(name, str) and name in tensors for name in local):
        raise ObjectDamaged("metadata: local is not a list of tensors that are here")
    return Layout(tensors, frozenset(trainable), tied, frozenset(local))


def _check_tied(tied: Any, tensors: Mapping[str, TensorSpec], checkpoint: bool) -> None:
    if not isinstance(tied, dict) or not all(isinstance(name, str) for name in tied.values()):
        raise ObjectDamaged("metadata: tied is not a map of names")
    for alias, name in tied.items():
        if name not in tensors or name in tied:
            raise ObjectDamaged(f"metadata: tied names {shown(name)}, which is no tensor here")
        if not checkpoint and alias in tensors:
            raise ObjectDamaged(f"tensor {shown(alias)} is tied to {shown(name)} and must not be there again")
        if checkpoint and (alias not in tensors or _form(tensors[alias]) != _form(tensors[name])):
            raise ObjectDamaged(f"tensor {shown(alias)} is not the one it is tied to, {shown(name)}")


def _field(metadata: Mapping[str, str], key: str) -> Any:
    try:
        return json.loads(metadata[key])
    except KeyError:
        raise ObjectDamaged(f"metadata: {key} is missing") from None
    except (ValueError, RecursionError):
        raise ObjectDamaged(f"metadata: {key} is not JSON") from None


def _form(tensor: TensorSpec) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"[:200]
