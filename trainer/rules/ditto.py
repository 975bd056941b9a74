"""Ditto: Li et al. 2021, Fair and Robust Federated Learning Through Personalization, algorithm 1.

v_k <- v_k - eta (grad F_k(v_k) + lambda (v_k - w^t))       for the client's local steps; v_k = w^0 at first
w_k  : plain training from w^t, and sent                    the global model knows nothing of v_k

v_k is the whole model, buffers too; it is what the client keeps and is evaluated with. Its batches come in an
order of their own. lambda is `train.lam`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch.utils.data import Dataset

from ..kept import KeptModel
from ..local import Setting, train_weights
from .personal import own, put, taken
from .rule import Tensors


def train_personal(
    model: KeptModel, base: Tensors, state: Tensors, dataset: Dataset[Any], setting: Setting
) -> dict[str, Any]:
    """Train v_k in the model, which stands at w^t; what the client keeps. The model is left at v_k."""
    w = {name: base[name].to(tensor.device) for name, tensor in model.layout.state.items()}
    put(model.layout, own(state))
    pulled = replace(setting, train=setting.train.model_copy(update={"mu": setting.train.lam}))
    names = {id(tensor): name for name, tensor in model.layout.state.items()}
    origin = [w[names[id(p)]] for p in model.module.parameters() if p.requires_grad]
    train_weights(model.module, dataset, pulled, origin=origin)
    return taken(model.layout, frozenset(model.layout.state))
