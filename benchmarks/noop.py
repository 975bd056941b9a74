"""A task whose training does nothing: what is left of a round is what Warren itself costs."""

import torch
from torch import nn
from torch.utils.data import TensorDataset

TENSORS = 10


class Weights(nn.Module):
    """So many bytes of parameters, in ten tensors."""

    def __init__(self, size, dtype):
        super().__init__()
        items = size // dtype.itemsize // TENSORS
        for number in range(TENSORS):
            self.register_parameter(f"part{number}", nn.Parameter(torch.randn(items).to(dtype)))


def model(size=1000, dtype="float32"):
    return Weights(size, getattr(torch, dtype))


def data(client):
    return TensorDataset(torch.zeros(1, 1), torch.zeros(1))


@torch.no_grad()
def train(model, dataset, context):
    model.part0[0] = context.round  # no two checkpoints are alike: each must be fetched
