"""The loaders of the tasks that ship, on the real MNIST, Fashion-MNIST and CIFAR-10: `make datasets` gets the files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets.get import CIFAR10, FASHION_MNIST, MNIST, DataSet
from PIL import Image

from warren.storage.job import TrainSpec
from warren.trainer.batches import length
from warren.trainer.evaluate import evaluate
from warren.trainer.local import Setting, train_weights
from warren.trainer.losses import default_loss
from warren.trainer.task import Client, Task, load_task, shipped
from warren.trainer.task_calls import build_model, client_data, held_out_data

MNIST_DIGITS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]  # LeCun et al., the 60,000 for training
MNIST_MEAN = 0.1307  # of the pixels for training, from 0 to 1: as torchvision's examples have it
FASHION_MEAN = 0.2860
CIFAR_MEAN, CIFAR_DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # red, green, blue


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As a trainer has; two on a busy machine wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def there(data_set: DataSet) -> Path:
    """Its folder; a missing data set fails the test, and says what is needed."""
    if not data_set.here:
        pytest.fail(data_set.remedy)
    return data_set.folder


def task_of(name: str) -> Task:
    path = shipped(name)
    assert path is not None
    return load_task(path)


def client(data_dir: Path, index: int, count: int) -> Client:
    return Client(f"c{index:03}", index, count, None, data_dir, seed=3)


def learned(task: Task, folder: Path, share: Any) -> float:
    """The accuracy on the test data after one epoch on these examples."""
    torch.manual_seed(0)
    model = build_model(task, {"model": "2nn"})
    setting = Setting(TrainSpec(optimizer="adam", lr=0.002), 1, 0, torch.device("cpu"), default_loss)
    train_weights(model, share, setting)
    held_out = held_out_data(task, client(folder, 0, 1), {})
    assert held_out is not None
    assert length(held_out) == 10_000
    return evaluate(model, held_out, setting, batch_size=500).metrics["accuracy"]


def test_mnist_is_whole_and_600_images_of_each_of_ten_clients_are_learned() -> None:
    folder, task = there(MNIST), task_of("mnist")
    whole = client_data(task, client(folder, 0, 1), {})
    pixels, digits = whole.dataset.tensors  # type: ignore[attr-defined]
    assert pixels.shape == (60_000, 28, 28)
    assert digits.bincount().tolist() == MNIST_DIGITS
    assert float(pixels.numpy().mean()) / 255 == pytest.approx(MNIST_MEAN, abs=1e-4)
    share = client_data(task, client(folder, 4, 10), {"partition": "iid"})
    assert length(share) == 6_000
    assert learned(task, folder, share) > 0.88


def test_mcmahans_shards_of_mnist_are_200_of_300_two_for_each_client() -> None:
    folder, task = there(MNIST), task_of("mnist")
    digits = client_data(task, client(folder, 0, 1), {}).dataset.tensors[1]  # type: ignore[attr-defined]
    for index in range(100):
        share = client_data(task, client(folder, index, 100), {"partition": "shards", "per_client": 2})
        assert length(share) == 600
        assert len(digits[torch.tensor(share.indices)].unique()) <= 4  # type: ignore[attr-defined]


def test_fashion_mnist_is_whole_and_learned_from_debians_gzipped_files() -> None:
    folder, task = there(FASHION_MNIST), task_of("fashion-mnist")
    whole = client_data(task, client(folder, 0, 1), {})
    pixels, kinds = whole.dataset.tensors  # type: ignore[attr-defined]
    assert pixels.shape == (60_000, 28, 28)
    assert kinds.bincount().tolist() == [6_000] * 10
    assert float(pixels.numpy().mean()) / 255 == pytest.approx(FASHION_MEAN, abs=1e-4)
    assert learned(task, folder, client_data(task, client(folder, 0, 10), {"partition": "iid"})) > 0.68


@pytest.fixture(scope="module")
def cifar_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The binary version made from pictures of 10,000 rows, an image each, and the labels beside them."""
    source = there(CIFAR10)
    folder = tmp_path_factory.mktemp("cifar") / "cifar-10-batches-bin"
    folder.mkdir()
    train = json.loads((source / "train_lables.json").read_text())
    test = json.loads((source / "test_lables.json").read_text())
    for name, labels in [
        *((f"data_batch_{n}", train[10_000 * (n - 1) : 10_000 * n]) for n in range(1, 6)),
        ("test_batch", test),
    ]:
        with Image.open(source / f"{name}.png") as picture:
            pixels = np.asarray(picture.convert("RGB")).transpose(0, 2, 1).reshape(10_000, 3072)
        rows = np.concatenate([np.asarray(labels, np.uint8)[:, None], pixels], axis=1)
        (folder / f"{name}.bin").write_bytes(rows.tobytes())
    return folder.parent


def test_cifar10_is_whole_with_its_known_colours_and_takes_a_step(cifar_binary: Path) -> None:
    task = task_of("cifar10")
    share = client_data(task, client(cifar_binary, 3, 100), {"partition": "dirichlet", "alpha": 0.5})
    pixels, classes = share.dataset.tensors  # type: ignore[attr-defined]
    assert pixels.shape == (50_000, 3, 32, 32)
    assert classes.bincount().tolist() == [5_000] * 10
    mean, square = (
        torch.stack([(part.double() / 255).pow(power).mean((0, 2, 3)) for part in pixels.split(5_000)]).mean(0)
        for power in (1, 2)
    )
    assert mean.tolist() == pytest.approx(CIFAR_MEAN, abs=1e-4)
    assert (square - mean**2).sqrt().tolist() == pytest.approx(CIFAR_DEVIATION, abs=1e-4)
    held_out = held_out_data(task, client(cifar_binary, 0, 100), {})
    assert held_out is not None
    assert length(held_out) == 10_000
    setting = Setting(TrainSpec(batch_size=8, steps=2, lr=0.01), 1, 0, torch.device("cpu"), default_loss)
    assert train_weights(build_model(task, {}), share, setting).metrics["loss"] == pytest.approx(2.3, abs=0.3)


@pytest.mark.parametrize("data_set", [MNIST, FASHION_MNIST, CIFAR10], ids=lambda data_set: data_set.name)
def test_a_data_set_that_is_missing_names_its_folder_and_its_package(data_set: DataSet, tmp_path: Path) -> None:
    missing = DataSet(data_set.name, data_set.package, tmp_path / "gone", data_set.files)
    with pytest.raises(pytest.fail.Exception, match="make datasets") as caught:
        there(missing)
    assert data_set.package in str(caught.value)
    assert str(tmp_path) in str(caught.value)
