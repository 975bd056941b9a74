"""The next character of a text of yours, by an LSTM: McMahan et al. 2017 and LEAF (Caldas et al. 2018), in small.

The text is a file, such as a play. Where it has headings of speakers ("HAMLET."), each client is a speaker, or holds
some whole ones; else it is a contiguous piece. Each client's last tenth is held out. Eighty characters go in, and the
next one is predicted at each of them. As published: an embedding of 8 and two layers of 256, the defaults of `model`;
the job file here takes one layer of 128.
"""

import functools
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

from warren.trainer import partition as partitions
from warren.trainer import texts

LENGTH = 80
HELD_OUT = 0.1


class Net(nn.Module):
    def __init__(self, embedding, hidden, layers):
        super().__init__()
        self.embedding = nn.Embedding(texts.CHARACTERS, embedding)
        self.lstm = nn.LSTM(embedding, hidden, layers, batch_first=True)
        self.output = nn.Linear(hidden, texts.CHARACTERS)

    def forward(self, characters):  # (n, 80) -> (n, 97, 80), as cross-entropy wants it
        return self.output(self.lstm(self.embedding(characters))[0]).transpose(1, 2)


def model(embedding=8, hidden=256, layers=2):
    return Net(embedding, hidden, layers)


def data(client, file, speakers=True, least=2):
    """What this client's speakers say; `least` windows of 80 characters at least. A site has a text of its own."""
    if client.site is not None:
        return as_dataset(windows(place(client, file), 1, speakers, least)[0])
    training, _, owner = windows(place(client, file), client.count, speakers, least)
    return as_dataset(training[partitions.natural(owner, client.count)[client.index]])


def test_data(client, file, speakers=True, least=2):
    """The end of what every speaker says; at a site of its own text."""
    return as_dataset(windows(place(client, file), 1 if client.site else client.count, speakers, least)[1])


def place(client, file):
    return Path(client.data_dir or "", file)


@functools.lru_cache(maxsize=2)
def windows(path, count, speakers, least):
    """(windows for training, windows held out, the speaker of each for training, as a number in sorted order)."""
    text = texts.read_text(path)
    said = list((texts.speeches(text) if speakers else {}).values())
    parts = [halves(codes) for codes in map(texts.encode, said or texts.pieces(text, count))]
    parts = [(training, held_out) for training, held_out in parts if len(training) >= least]
    if len(parts) < count:
        kind = "speakers" if said else "pieces"
        raise ValueError(f"{path.name}: {count} clients, and {len(parts)} {kind} of {least} x {LENGTH} characters")
    training, held_out = (np.concatenate(side) for side in zip(*parts, strict=True))
    return training, held_out, np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])


def halves(codes):
    """Windows of the beginning, for training, and of the end, held out: LEAF splits by time too."""
    cut = len(codes) - int(len(codes) * HELD_OUT)
    return texts.windows(codes[:cut], LENGTH), texts.windows(codes[cut:], LENGTH)


def as_dataset(rows):
    rows = torch.from_numpy(rows)
    return TensorDataset(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())
