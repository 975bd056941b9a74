"""MNIST with logistic regression: convex, so that what differs between algorithms is drift and nothing else."""

import torch
from torch import nn

from warren.trainer.tasks import mnist


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(784, 10)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, pixels):  # (n, 28, 28) uint8
        return self.layer(pixels.to(torch.float32).div(255).flatten(1))


def model():
    return Linear()


def data(client, partition="iid", **options):
    return mnist.data(client, partition, **options)


def test_data(client):
    return mnist.test_data(client)
