"""MNIST's 2NN on 20 clients of 300 images, some of whom attack: what they send is not what they learned.

    label     their images carry the digit 9 - y
    sign      they send w - 4 (y - w) where they learned y from w
    gaussian  they send w + N(0, 1) in each coordinate
    alie      A Little Is Enough, Baruch, Baruch, Goldberg 2019, algorithm 3: they know what all f of them learned, and
              send its mean less z standard deviations, z = the quantile of (n - f - s) / (n - f), s = n // 2 + 1 - f

The first f clients attack, in every round. Their chance comes from a generator of its own.
"""

import dataclasses
import random
import statistics

import torch
from torch.utils.data import TensorDataset

from warren.trainer import partition as partitions
from warren.trainer.local import train_weights
from warren.trainer.tasks import mnist

IMAGES = 300
SIGN_FACTOR = 4.0
_LEARNED = {}  # of the attackers together, for the round that is under way


def model(attack="none", f=0, attack_seed=0):
    made = mnist.model("2nn")
    made.attack, made.f, made.attack_seed = attack, f, attack_seed
    return made


def data(client, partition="iid", attack="none", f=0, **options):
    """Each client has as many images: the first 300 of its part."""
    pixels, digits = mnist.digits(client.data_dir)[0].tensors
    parts = mnist.divided(client.data_dir, client.count, client.seed, partition, tuple(sorted(options.items())))
    rows = torch.from_numpy(partitions.share(parts, client))
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(client.seed + client.index))]
    mine = TensorDataset(pixels[rows[:IMAGES]], digits[rows[:IMAGES]])
    if attack == "label" and client.index < f:
        return TensorDataset(mine.tensors[0], 9 - mine.tensors[1])
    return mine


def test_data(client):
    return mnist.test_data(client)


def train(model, dataset, context):
    if context.client.index < model.f and model.attack not in ("none", "label"):
        attack(model, dataset, context)
        return {}
    return train_weights(model, dataset, context.setting).metrics


def attack(model, dataset, context):
    """Leave in the model what this attacker sends."""
    start = copied(model)
    if model.attack == "alie":
        put(model, alie(model, start, context))
    elif model.attack == "sign":
        train_weights(model, dataset, context.setting)
        learned = copied(model)
        put(model, {name: w - SIGN_FACTOR * (learned[name] - w) for name, w in start.items()})
    elif model.attack == "gaussian":
        seed = random.Random(f"{model.attack_seed}/{context.round}/{context.client.name}").getrandbits(63)
        chance = torch.Generator().manual_seed(seed)
        put(model, {name: w + torch.randn(w.shape, generator=chance) for name, w in start.items()})
    else:
        raise ValueError(f"attack {model.attack!r}")


def alie(model, start, context):
    """The mean of what the attackers learned, less z of its standard deviations; the same from all of them."""
    key = (context.client.seed, context.round, model.f)
    if key not in _LEARNED:
        _LEARNED.clear()
        learned = [honest(model, start, context, index) for index in range(model.f)]
        n, f = context.client.count, model.f
        s = n // 2 + 1 - f
        z = statistics.NormalDist().inv_cdf((n - f - s) / (n - f))
        stacked = {name: torch.stack([one[name] for one in learned]) for name in start}
        _LEARNED[key] = {name: all_.mean(0) - z * all_.std(0) for name, all_ in stacked.items()}
    return _LEARNED[key]


def honest(model, start, context, index):
    """What the attacker of this index learns from its own images."""
    put(model, start)
    other = dataclasses.replace(context.client, name=f"c{index:03}", index=index)
    seed = context.setting.order_seed ^ (index << 32)
    train_weights(model, data(other), dataclasses.replace(context.setting, order_seed=seed))
    return copied(model)


def copied(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@torch.no_grad()
def put(model, weights):
    for name, parameter in model.named_parameters():
        parameter.copy_(weights[name])
