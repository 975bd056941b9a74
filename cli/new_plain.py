"""What `warren new NAME` writes: a small task on made-up points, and its job, each key with a comment."""

PLAIN_TASK = '''\
"""NAME: which of two rings does a point belong to? Put your own model and data in place of these."""

# Packages that this file needs beside torch: compared with what is installed, never installed.
# /// script
# dependencies = []
# ///

import torch
from torch import nn
from torch.utils.data import TensorDataset


def model(hidden=32):
    """The model. Its arguments can be set in the job's [params], or with -P hidden=64."""
    return nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2))


def data(client, examples=200, noise=0.1):
    """One client's examples: anything with len() and indexing, of pairs (input, target).

    client.name, client.index of client.count, client.site, client.data_dir (from --data-dir), client.seed.
    Further arguments come from the job's [data].
    """
    return rings(examples, noise, seed=client.seed + client.index)


def test_data(noise=0.1):
    """Held-out examples on which each checkpoint is measured. Without this function there is no held-out result."""
    return rings(1000, noise, seed=4711)


# Also possible, and better left out where not needed:
#   loss(output, target)          without it: cross-entropy for whole-numbered targets, squared error for others
#   metrics(outputs, targets)     a dict of numbers, or of pairs (sum, count); without it: the accuracy
#   train(model, dataset, context)   a training loop of your own


def rings(examples, noise, seed):
    """Points around (0, 0): those of ring 0 at a distance of 1, those of ring 1 at a distance of 2."""
    chance = torch.Generator().manual_seed(seed)
    ring = torch.randint(2, (examples,), generator=chance)
    angle = 2 * torch.pi * torch.rand(examples, generator=chance)
    points = torch.view_as_real(torch.polar(ring + 1.0, angle))
    return TensorDataset(points + noise * torch.randn(examples, 2, generator=chance), ring)
'''

PLAIN_JOB = """\
# The job: `warren check` it, `warren run` it here, `warren submit` it to servers. Every key: docs/configuration.md
task = "NAME.py"
clients = 5          # made-up ones: each calls data(client). With real sites: sites = ["st-mary", "general"]
rounds = 10
quorum = "80%"       # of those asked: with so many a round may close at its deadline
deadline = "2m"
seed = 0             # the same seed gives the same bytes

[train]              # the work of one client in one round
epochs = 2
batch_size = 20
optimizer = "sgd"    # any of torch.optim, in small letters
lr = 0.1

[strategy]
name = "fedavg"      # or fedavgm, fedadam, fedyogi, fedadagrad

[params]             # the arguments of model()
hidden = 32

[data]               # further arguments of data()
examples = 200
"""
