"""MNIST's 2NN on clients of 300 images; some wait before they train, as slower machines would be late."""

import time

from torch.utils.data import Subset

from warren.trainer.local import train_weights
from warren.trainer.tasks import mnist

IMAGES = 300
LOOK_SECONDS = 0.05


def model(slow=0, quick_seconds=0.1, slow_seconds=1.0):
    made = mnist.model("2nn")
    made.slow, made.waits = slow, (quick_seconds, slow_seconds)
    return made


def data(client):
    mine = mnist.data(client)
    return Subset(mine.dataset, mine.indices[:IMAGES])


def test_data(client):
    return mnist.test_data(client)


def train(model, dataset, context):
    until = time.monotonic() + model.waits[context.client.index < model.slow]
    while context.keep_going() and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
    return train_weights(model, dataset, context.setting).metrics
