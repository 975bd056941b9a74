"""Fashion-MNIST (Xiao et al. 2017): ten kinds of clothing, with a network of two layers or a convolutional one.

The four IDX files, raw or gzipped, lie in the trainer's folder for data (`--data-dir`), in `FashionMNIST/raw`
below it, or are downloaded there.
"""

import functools

import torch
from torch import nn
from torch.utils.data import Subset, TensorDataset

from warren.trainer import images
from warren.trainer import partition as partitions

FILES = [f"{part}-{kind}" for part in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
FOLDERS = ["", "FashionMNIST/raw", "fashion-mnist", "raw"]


class Net(nn.Module):
    """Layers over pixels that come as bytes."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, pixels):  # (n, 28, 28) uint8
        return self.layers(pixels.to(self.layers[-1].weight.dtype).div(255).unsqueeze(1))


def model(model="cnn"):
    if model == "2nn":
        hidden = [nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU()]
        return Net(nn.Flatten(), *hidden, nn.Linear(200, 10))
    if model == "cnn":
        first = [nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
        second = [nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
        return Net(*first, *second, nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 10))
    raise ValueError(f'model {model!r} is neither "2nn" nor "cnn"')


def data(client, partition="iid", **options):
    train, _ = clothes(client.data_dir)
    parts = divided(client.data_dir, client.count, client.seed, partition, tuple(sorted(options.items())))
    return Subset(train, partitions.share(parts, client).tolist())


def test_data(client):
    return clothes(client.data_dir)[1]


@functools.lru_cache(maxsize=1)
def clothes(data_dir):
    """(for training, for testing): pixels (n, 28, 28) uint8, kinds (n,)."""
    folder = data_dir or images.default_folder()
    files = images.find(folder, FOLDERS, FILES) or download(folder)
    arrays = [torch.from_numpy(images.read_idx(file)) for file in files]
    return TensorDataset(arrays[0], arrays[1].long()), TensorDataset(arrays[2], arrays[3].long())


def download(folder):
    from torchvision.datasets import FashionMNIST  # here: it takes a second to load

    try:
        FashionMNIST(folder, download=True)
    except (RuntimeError, OSError) as error:
        raise images.FilesMissing(
            f"{folder} has none of {', '.join(FILES)} (or .gz), and they can't be downloaded: {error}. "
            "Put them there, or name another folder with --data-dir."
        ) from None
    return images.find(folder, FOLDERS, FILES)


@functools.lru_cache(maxsize=2)
def divided(data_dir, count, seed, partition, options):
    """Each client's rows, worked out once for all of them."""
    labels = clothes(data_dir)[0].tensors[1].numpy()
    return partitions.by_name(partition, labels, count, seed, **dict(options))
