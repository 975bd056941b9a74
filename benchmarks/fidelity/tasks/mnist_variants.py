"""MNIST's 2NN with what McMahan et al. 2017 leave open: how weights begin, and how pixels are scaled."""

import torch
from torch import nn

from warren.trainer.tasks import mnist

SCALES = {"unit": (255.0, 0.0), "centred": (255.0, 0.5), "standard": (255.0 * 0.3081, 0.1307 / 0.3081)}


class Net(nn.Module):
    """The layers of the shipped 2NN behind another scale."""

    def __init__(self, layers, scale):
        super().__init__()
        self.layers = layers
        self.scale = SCALES[scale]

    def forward(self, pixels):  # (n, 28, 28) uint8
        divisor, middle = self.scale
        return self.layers(pixels.to(torch.float32).div(divisor).sub(middle))


def model(init="torch", scale="unit"):
    made = Net(mnist.model("2nn").layers, scale)
    for layer in made.modules():
        if isinstance(layer, nn.Linear):
            begin(layer, init)
    return made


def begin(layer, init):
    """torch: Kaiming uniform with a = sqrt 5, for the biases too; the others leave biases at 0."""
    if init == "torch":
        return
    if init == "glorot":
        nn.init.xavier_uniform_(layer.weight)
    elif init == "truncated":  # TensorFlow's tutorials of the time: a deviation of 0.1, cut off at two of them
        nn.init.trunc_normal_(layer.weight, std=0.1, a=-0.2, b=0.2)
    else:
        raise ValueError(f"init {init!r}")
    nn.init.zeros_(layer.bias)


def data(client, partition="iid"):
    return mnist.data(client, partition)


def test_data(client):
    return mnist.test_data(client)
