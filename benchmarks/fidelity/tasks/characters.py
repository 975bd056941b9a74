"""A small transformer that guesses the next byte of Python's own manual, which every Python carries as text.

Each worker has a stretch of the text to itself; the last tenth of it is held out. 137,000 weights; 64 bytes at once.
The text differs between versions of Python, so figures compare within one version only.
"""

import functools
from pydoc_data.topics import topics

import torch
from torch import nn
from torch.utils.data import TensorDataset

BYTES, WINDOW = 256, 64
WIDTH, HEADS, LAYERS = 64, 4, 2


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.symbols = nn.Embedding(BYTES, WIDTH)
        self.places = nn.Parameter(0.02 * torch.randn(WINDOW, WIDTH))
        layer = functools.partial(nn.TransformerEncoderLayer, WIDTH, HEADS, 4 * WIDTH, dropout=0.0, batch_first=True)
        self.layers = nn.ModuleList(layer(norm_first=True) for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.out = nn.Linear(WIDTH, BYTES)

    def forward(self, text):  # (n, window) uint8 to (n, 256, window)
        seen = self.symbols(text.long()) + self.places
        mask = nn.Transformer.generate_square_subsequent_mask(text.shape[1], device=text.device)
        for layer in self.layers:
            seen = layer(seen, src_mask=mask, is_causal=True)
        return self.out(self.norm(seen)).transpose(1, 2)


def model():
    return Transformer()


def data(client):
    training = stretch(0.0, 0.9)
    size = len(training) // client.count
    return windows(training[client.index * size : (client.index + 1) * size])


def test_data():
    return windows(stretch(0.9, 1.0))


def stretch(start, end):
    pages = "\n".join(topics[name] for name in sorted(topics))
    text = torch.frombuffer(bytearray(pages.encode()), dtype=torch.uint8)
    return text[int(start * len(text)) : int(end * len(text))]


def windows(text):
    """Each 64 bytes, and the 64 that follow each of them by one."""
    count = (len(text) - 1) // WINDOW
    inputs, targets = text[: count * WINDOW], text[1 : count * WINDOW + 1]
    return TensorDataset(inputs.view(count, WINDOW), targets.view(count, WINDOW).long())
