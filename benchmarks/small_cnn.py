"""MNIST with a small convolutional network (115,866 weights): many virtual clients with little work each."""

import torch
from torch import nn

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
    return mnist.data(client)


def test_data(client):
    return mnist.test_data(client)
