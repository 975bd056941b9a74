"""What of a trained model goes into its update: weights, a delta, or gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch

from .layout import Layout


@torch.no_grad()
def update_tensors(
    layout: Layout, mode: Literal["weights", "delta", "gradients"], base: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The tensors of an update by canonical name.

    weights: the state as it is. delta: floating tensors less the base's, in place (the model is no longer of
    use), others as they are. gradients: the gradient of each trainable parameter, zeros where it had no part;
    others as they are.
    """
    if mode == "weights":
        return dict(layout.state)
    trainable = set(layout.trainable)
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in layout.state.items():
        if mode == "gradients" and name in trainable:
            tensors[name] = tensor.grad if tensor.grad is not None else torch.zeros_like(tensor)
        elif mode == "delta" and tensor.is_floating_point():
            tensors[name] = tensor.detach().sub_(base[name].to(tensor.device))
        else:
            tensors[name] = tensor
    return tensors
