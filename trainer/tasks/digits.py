"""Handwritten digits: the 1,797 images of 8 x 8 that scikit-learn carries, and a small convolutional network."""

# /// script
# dependencies = ["scikit-learn>=1.4"]
# ///

import functools
import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Subset, TensorDataset

from warren.trainer import partition as partitions

TEST_EVERY = 5  # each fifth of the shuffled images is held out
SPLIT_SEED = 0  # the same held-out images for every job


def model(channels=16):
    return nn.Sequential(
        nn.Unflatten(1, (1, 8)),
        nn.Conv2d(1, channels, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels, 2 * channels, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * channels * 16, 10),
    )


def data(client, partition="dirichlet", **options):
    train, _ = images()
    parts = divided(client.count, client.seed, partition, tuple(sorted(options.items())))
    return Subset(train, partitions.share(parts, client).tolist())


def test_data():
    return images()[1]


@functools.cache
def images():
    """(for training, held out): pixels (n, 8, 8) from 0 to 1, digits (n,)."""
    # scikit-learn's file, read without importing scikit-learn: 0.1 s instead of 2 s in every process
    package = Path(importlib.util.find_spec("sklearn").origin).parent
    table = np.loadtxt(package / "datasets" / "data" / "digits.csv.gz", delimiter=",", dtype=np.float32)
    table = table[np.random.default_rng(SPLIT_SEED).permutation(len(table))]
    held_out = np.arange(len(table)) % TEST_EVERY == 0
    return as_dataset(table[~held_out]), as_dataset(table[held_out])


def as_dataset(table):
    pixels = torch.from_numpy(table[:, :64] / 16).reshape(-1, 8, 8)
    return TensorDataset(pixels, torch.from_numpy(table[:, 64].astype(np.int64)))


@functools.lru_cache(maxsize=2)
def divided(count, seed, partition, options):
    """Each client's rows, worked out once for all of them."""
    labels = images()[0].tensors[1].numpy()
    return partitions.by_name(partition, labels, count, seed, **dict(options))
