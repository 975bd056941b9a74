"""MNIST's 2NN on workers, some of whom die: a worker that was killed in a round never answers again.

The training process kills itself with SIGKILL, as a machine that goes away; Warren tries the work once more, then
counts the client as failed.
"""

import os
import signal

from warren.trainer.local import train_weights
from warren.trainer.tasks import mnist


def model(killed=0, in_round=2):
    made = mnist.model("2nn")
    made.killed, made.in_round = killed, in_round
    return made


def data(client):
    return mnist.data(client)


def test_data(client):
    return mnist.test_data(client)


def train(model, dataset, context):
    if context.round >= model.in_round and context.client.index < model.killed:
        os.kill(os.getpid(), signal.SIGKILL)
    return train_weights(model, dataset, context.setting).metrics
