"""CIFAR-10 with the small convolutional network of TensorFlow's tutorial, as in McMahan et al. 2017.

The six files of the binary version (`data_batch_1.bin` to 5, `test_batch.bin`) lie in the trainer's folder for
data (`--data-dir`), in `cifar-10-batches-bin` below it, or are downloaded there.
"""

import functools

import numpy as np
import torch
from torch import nn
from torch.utils.data import Subset, TensorDataset

from warren.trainer import images
from warren.trainer import partition as partitions

FILES = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]
FOLDERS = ["", "cifar-10-batches-bin"]
ARCHIVE = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
ARCHIVE_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        first = [nn.Conv2d(3, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        second = [nn.Conv2d(64, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        dense = [nn.Linear(4096, 384), nn.ReLU(), nn.Linear(384, 192), nn.ReLU(), nn.Linear(192, 10)]
        self.layers = nn.Sequential(*first, *second, nn.Flatten(), *dense)

    def forward(self, pixels):  # (n, 3, 32, 32) uint8
        return self.layers(pixels.to(self.layers[-1].weight.dtype).div(127.5).sub(1))


def model():
    return Net()


def data(client, partition="iid", **options):
    train, _ = pictures(client.data_dir)
    parts = divided(client.data_dir, client.count, client.seed, partition, tuple(sorted(options.items())))
    return Subset(train, partitions.share(parts, client).tolist())


def test_data(client):
    return pictures(client.data_dir)[1]


@functools.lru_cache(maxsize=1)
def pictures(data_dir):
    """(for training, for testing): pixels (n, 3, 32, 32) uint8, classes (n,)."""
    folder = data_dir or images.default_folder()
    *train, test = [images.read_cifar(file) for file in images.find(folder, FOLDERS, FILES) or download(folder)]
    joined = [np.concatenate([part[place] for part in train]) for place in (0, 1)]
    return as_dataset(*joined), as_dataset(*test)


def as_dataset(pixels, classes):
    return TensorDataset(torch.from_numpy(pixels), torch.from_numpy(classes).long())


def download(folder):
    from torchvision.datasets.utils import download_and_extract_archive  # here: it takes a second to load

    try:
        download_and_extract_archive(ARCHIVE, folder, md5=ARCHIVE_MD5)
    except (RuntimeError, OSError) as error:
        raise images.FilesMissing(
            f"{folder} has none of {', '.join(FILES)}, and they can't be downloaded: {error}. "
            "Put them there, or name another folder with --data-dir."
        ) from None
    return images.find(folder, FOLDERS, FILES)


@functools.lru_cache(maxsize=2)
def divided(data_dir, count, seed, partition, options):
    """Each client's rows, worked out once for all of them."""
    labels = pictures(data_dir)[0].tensors[1].numpy()
    return partitions.by_name(partition, labels, count, seed, **dict(options))
