"""Synthetic(alpha, beta) of FedProx (Li, Sahu et al. 2020, section 5.1): ten classes, sixty features, no file.

    u_k ~ N(0, alpha), W_k, b_k ~ N(u_k, 1)      how far the clients' models differ
    B_k ~ N(0, beta), v_k ~ N(B_k, 1)            how far their inputs do
    x ~ N(v_k, Sigma), Sigma_jj = j^-1.2         y = argmax(W_k x + b_k)

alpha and beta are standard deviations, as in the authors' code; n_k = floor(lognormal(4, 2)) + 50. Each client
holds its last tenth out. Nothing is shared: a client's data follow from the job's seed and its own index.
"""

import numpy as np
import torch
from torch import nn
from torch.utils.data import ConcatDataset, TensorDataset

FEATURES, CLASSES = 60, 10
ROWS_MAX = 20_000  # of one client: the law has a long tail


def model():
    return nn.Linear(FEATURES, CLASSES)


def data(client, alpha=1.0, beta=1.0):
    return drawn(client.seed, client.index, alpha, beta)[0]


def test_data(client, alpha=1.0, beta=1.0):
    return ConcatDataset([drawn(client.seed, index, alpha, beta)[1] for index in range(client.count)])


def drawn(seed, index, alpha, beta):
    """(for training, held out) of one client."""
    chance = np.random.default_rng([seed, index])
    rows = min(ROWS_MAX, int(chance.lognormal(4, 2)) + 50)
    u, b_mean = chance.normal(0, alpha), chance.normal(0, beta)
    weights, bias = chance.normal(u, 1, (FEATURES, CLASSES)), chance.normal(u, 1, CLASSES)
    v = chance.normal(b_mean, 1, FEATURES)
    deviation = np.arange(1, FEATURES + 1) ** -0.6  # the square root of Sigma's diagonal
    x = v + deviation * chance.normal(size=(rows, FEATURES))
    y = (x @ weights + bias).argmax(1)
    inputs, classes = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y)
    kept = rows * 9 // 10
    return TensorDataset(inputs[:kept], classes[:kept]), TensorDataset(inputs[kept:], classes[kept:])
