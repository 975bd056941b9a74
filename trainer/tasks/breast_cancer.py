"""Breast cancer (Wisconsin): 569 tumours with 30 measurements, malignant or benign; a small network."""

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

TEST_EVERY = 5
SPLIT_SEED = 0

metrics = ["accuracy", "recall", "f2", "auroc"]  # over all clients' tumours, from counts
positive = 0  # malignant: recall is the share of malignant tumours that are found, and f2 lays its weight on it


def model(hidden=16):
    return nn.Sequential(nn.Linear(30, hidden), nn.ReLU(), nn.Linear(hidden, 2))


def data(client, partition="iid", **options):
    train, _ = tumours()
    parts = divided(client.count, client.seed, partition, tuple(sorted(options.items())))
    return Subset(train, partitions.share(parts, client).tolist())


def test_data():
    return tumours()[1]


@functools.cache
def tumours():
    """(for training, held out): measurements (n, 30), scaled by those for training; classes (n,)."""
    package = Path(importlib.util.find_spec("sklearn").origin).parent
    file = package / "datasets" / "data" / "breast_cancer.csv"
    table = np.loadtxt(file, delimiter=",", skiprows=1, dtype=np.float64)
    table = table[np.random.default_rng(SPLIT_SEED).permutation(len(table))]
    held_out = np.arange(len(table)) % TEST_EVERY == 0
    mean, deviation = table[~held_out, :30].mean(0), table[~held_out, :30].std(0)
    table[:, :30] = (table[:, :30] - mean) / deviation
    return as_dataset(table[~held_out]), as_dataset(table[held_out])


def as_dataset(table):
    measured = torch.from_numpy(table[:, :30].astype(np.float32))
    return TensorDataset(measured, torch.from_numpy(table[:, 30].astype(np.int64)))


@functools.lru_cache(maxsize=2)
def divided(count, seed, partition, options):
    labels = tumours()[0].tensors[1].numpy()
    return partitions.by_name(partition, labels, count, seed, **dict(options))
