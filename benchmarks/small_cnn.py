"""MNIST with a small convolutional network (115,866 weights): many virtual clients with little work each."""

import torch
from torch import nn
from torch.utils.data import Subset

from warren.trainer.tasks import mnist


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        first = [nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
        second = [nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
        self.layers = nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(1568, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, pixels):  # (n, 28, 28) uint8
        return self.layers(pixels.to(torch.float32).div(255).unsqueeze(1))


def model():
    return Net()


def data(client):
    """60 images: a thousandth of them all, however many clients there are."""
    pictures = mnist.digits(client.data_dir)[0]
    parts = mnist.divided(client.data_dir, 1000, client.seed, "iid", ())
    return Subset(pictures, parts[client.index].tolist())


def test_data(client):
    return mnist.test_data(client)
