"""Documents as bags of words: 2,000 words of Zipf's frequencies, 20 topics; logistic regression. No file.

A topic makes its own words ten times as likely; most of them are rare, so most gradients of a round are zero in most
rows, as with Stack Overflow's tags (Reddi et al. 2021). Each client has documents of few topics, Dir(0.3).
"""

import functools

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

WORDS, TOPICS = 2000, 20
LENGTH = 20  # words drawn for a document
DOCUMENTS = 60  # of a client
TEST_DOCUMENTS = 4000
ALPHA = 0.3
LIKELIER = 10.0
WORLD_SEED = 0  # which words belong to which topic


def model():
    made = nn.Linear(WORDS, TOPICS)
    nn.init.zeros_(made.weight)
    nn.init.zeros_(made.bias)
    return made


def data(client):
    chance = np.random.default_rng([client.seed, 1, client.index])
    return documents(chance.choice(TOPICS, DOCUMENTS, p=chance.dirichlet(np.full(TOPICS, ALPHA))), chance)


def test_data(client):
    chance = np.random.default_rng([client.seed, 2])
    return documents(chance.integers(TOPICS, size=TEST_DOCUMENTS), chance)


@functools.cache
def frequencies():
    """(topics, words): how likely a topic's next word is each."""
    chance = np.random.default_rng(WORLD_SEED)
    common = 1 / (np.arange(WORDS) + 10.0)
    owner = chance.integers(TOPICS, size=WORDS)
    weights = common * np.where(owner == np.arange(TOPICS)[:, None], LIKELIER, 1.0)
    return weights / weights.sum(1, keepdims=True)


def documents(topics, chance):
    """Which words a document has, 0 or 1."""
    edges = frequencies().cumsum(1)
    inputs = np.zeros((len(topics), WORDS), np.float32)
    for row, topic in enumerate(topics):
        inputs[row, np.searchsorted(edges[topic], chance.random(LENGTH)).clip(max=WORDS - 1)] = 1.0
    return TensorDataset(torch.from_numpy(inputs), torch.from_numpy(topics.astype(np.int64)))
