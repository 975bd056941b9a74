"""From the mean of a version's updates to what its strategy is given: shrunk, or mixed with the model before."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch

from ..storage.documents import Manifest
from ..storage.job import JobSpec
from .staleness import mixing, shrinking

Tensors = dict[str, torch.Tensor]


def merge(
    spec: JobSpec, manifest: Manifest, averages: Tensors, start: Mapping[str, torch.Tensor], trainable: Collection[str]
) -> None:
    """Change the averages in place, as an asynchronous schedule has it; a synchronous one changes nothing.

    Args:
        averages: the weighted mean of each tensor, floating ones in the dtype they were summed in.
        start: the model before, in the model's dtypes.
        trainable: names of what is trained; buffers of a gradients job come whole, and are not shrunk.
    """
    shrink, share = shrinking(spec, manifest), mixing(spec, manifest)
    for name, value in averages.items():
        if not value.is_floating_point():
            continue
        if share != 1.0:
            value.mul_(share).add_(start[name].to(value.dtype), alpha=1.0 - share)
        elif shrink != 1.0 and (name in trainable or spec.update == "delta"):
            value.mul_(shrink)
