"""A small model and data for tests of training, and its numbers as one vector."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import TensorDataset


def network(seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)


def rows(count: int, seed: int = 1) -> TensorDataset:
    chance = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 6, generator=chance, dtype=torch.float64)
    return TensorDataset(x, x[:, :3].argmax(1))


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def gradients(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
