"""The tasks that ship: they train, they are of the published size, and they say which files they lack."""

from __future__ import annotations

import gzip
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from warren.storage.job import EvaluateSpec, TrainSpec
from warren.trainer.batches import length
from warren.trainer.evaluate import evaluate
from warren.trainer.images import read_cifar, read_idx
from warren.trainer.local import Setting, train_weights
from warren.trainer.losses import default_loss
from warren.trainer.task import Client, Task, load_task, shipped, shipped_names
from warren.trainer.task_calls import build_model, client_data, held_out_data, wanted_metrics


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As a trainer has; two on a busy machine wait for each other, and take 50 times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def task_of(name: str) -> Task:
    path = shipped(name)
    assert path is not None
    return load_task(path)


def client(index: int = 0, count: int = 10, data_dir: Path | None = None) -> Client:
    return Client(f"c{index:03}", index, count, None, data_dir, seed=3)


def federated(name: str, rounds: int, **train: object) -> dict[str, float]:
    """Rounds of FedAvg by hand on all clients of the task's own job file; the held-out metrics."""
    path = shipped(name)
    assert path is not None
    job = tomllib.loads(path.with_suffix(".toml").read_text())
    task, clients = load_task(path), job["clients"]
    torch.manual_seed(0)
    model = build_model(task, {})
    shares = [client_data(task, client(index, clients), job.get("data", {})) for index in range(clients)]
    spec = TrainSpec(**{**job["train"], **train})
    setting = Setting(spec, 1, 0, torch.device("cpu"), default_loss)
    start = {key: value.clone() for key, value in model.state_dict().items()}
    for number in range(rounds):
        total = {key: torch.zeros_like(value) for key, value in start.items()}
        for index, share in enumerate(shares):
            model.load_state_dict(start)
            torch.manual_seed(number * clients + index)
            train_weights(model, share, replace(setting, order_seed=number * clients + index))
            for key, value in model.state_dict().items():
                total[key] += value * (length(share) / sum(map(length, shares)))
        start = total
    model.load_state_dict(start)
    held_out = held_out_data(task, client(0, clients), job.get("data", {}))
    assert held_out is not None
    wanted = wanted_metrics(task, EvaluateSpec())
    return dict(evaluate(model, held_out, setting, batch_size=256, wanted=wanted).metrics)


def test_the_digits_reach_95_percent_on_ten_unequal_clients_in_10_rounds():
    assert federated("digits", 10)["accuracy"] >= 0.95


def test_breast_cancer_is_told_from_benign_and_its_recall_is_measured():
    found = federated("breast-cancer", 5)
    assert found["accuracy"] >= 0.95
    assert found["recall"] >= 0.9
    assert found["f2"] >= 0.9
    assert found["auroc"] >= 0.98


def test_synthetic_clients_follow_from_the_seed_and_are_learned():
    task = task_of("synthetic")
    one, again, other = (client_data(task, client(index), {}) for index in (1, 1, 2))
    assert torch.equal(one.tensors[0], again.tensors[0])  # type: ignore[attr-defined]
    assert length(one) != length(other)
    assert min(length(one), length(other)) >= 45
    alike = client_data(task, client(1), {"alpha": 0.0, "beta": 0.0})
    model = build_model(task, {})
    setting = Setting(TrainSpec(epochs=20, batch_size=10, lr=0.05), 1, 0, torch.device("cpu"), default_loss)
    train_weights(model, alike, setting)
    assert evaluate(model, alike, setting, batch_size=256).metrics["accuracy"] > 0.7


def test_the_clients_of_a_task_hold_every_row_once():
    task = task_of("digits")
    held = [client_data(task, client(index), {}).indices for index in range(10)]  # type: ignore[attr-defined]
    assert sorted(row for rows in held for row in rows) == list(range(1437))
    held_out = held_out_data(task, client(), {})
    assert held_out is not None
    assert length(held_out) == 360


@pytest.mark.parametrize(("network", "weights"), [("2nn", 199_210), ("cnn", 1_663_370)])
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_networks_have_as_many_weights_as_in_mcmahan_et_al(name, network, weights):
    model = build_model(task_of(name), {"model": network})
    assert sum(parameter.numel() for parameter in model.parameters()) == weights
    assert model(torch.zeros(2, 28, 28, dtype=torch.uint8)).shape == (2, 10)


def idx(array: np.ndarray) -> bytes:
    sizes = np.asarray(array.shape, ">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


@pytest.fixture
def mnist_files(tmp_path: Path) -> Path:
    """A small MNIST: 40 and 20 images; one file of the four is gzipped, as a download leaves them."""
    chance = np.random.default_rng(0)
    folder = tmp_path / "mnist"
    folder.mkdir()
    for part, count in (("train", 40), ("t10k", 20)):
        pixels = chance.integers(0, 256, (count, 28, 28), np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(pixels))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(count, dtype=np.uint8) % 10))
    raw = folder / "train-images-idx3-ubyte"
    raw.with_name(raw.name + ".gz").write_bytes(gzip.compress(raw.read_bytes()))
    raw.unlink()
    return tmp_path


def test_mnist_is_read_from_the_folder_for_data(mnist_files):
    task = task_of("mnist")
    share = client_data(task, client(1, 4, mnist_files), {"partition": "iid"})
    assert length(share) == 10
    held_out = held_out_data(task, client(0, 4, mnist_files), {})
    assert held_out is not None
    assert length(held_out) == 20
    setting = Setting(TrainSpec(batch_size=5), 1, 0, torch.device("cpu"), default_loss)
    assert train_weights(build_model(task, {}), share, setting).examples == 10


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_files_that_are_missing_are_named_with_the_folder_to_put_them_in(name, tmp_path, monkeypatch):
    task = task_of(name)

    def no_network(*_: object, **__: object) -> None:
        raise RuntimeError("no network here")

    monkeypatch.setattr("torchvision.datasets.MNIST.__init__", no_network)
    monkeypatch.setattr("torchvision.datasets.utils.download_and_extract_archive", no_network)
    with pytest.raises(FileNotFoundError, match="--data-dir") as caught:
        client_data(task, client(0, 4, tmp_path), {})
    assert str(tmp_path) in str(caught.value)
    assert ("test_batch.bin" if name == "cifar10" else "t10k-labels-idx1-ubyte") in str(caught.value)


def test_cifar_is_read_from_its_binary_version(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    rows = np.random.default_rng(0).integers(0, 256, (12, 3073), np.uint8)
    rows[:, 0] = np.arange(12) % 10
    for name in [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]:
        (folder / name).write_bytes(rows.tobytes())
    task = task_of("cifar10")
    share = client_data(task, client(0, 3, tmp_path), {})
    assert length(share) == 20
    assert build_model(task, {})(share[0][0].unsqueeze(0)).shape == (1, 10)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\0\x08",
        b"\0\0\x0d\x01\0\0\0\x01\0",
        b"\0\0\x08\x03" + b"\xff" * 12,
        idx(np.zeros((2, 3), np.uint8))[:-1],
    ],
)
def test_a_damaged_file_is_told_and_takes_no_memory(tmp_path, body):
    (tmp_path / "images").write_bytes(body)
    with pytest.raises(ValueError, match="images: "):
        read_idx(tmp_path / "images")


def test_damaged_archives_are_told(tmp_path):
    (tmp_path / "labels.gz").write_bytes(gzip.compress(idx(np.zeros(9, np.uint8)))[:-4])
    with pytest.raises(ValueError, match=r"labels\.gz: "):
        read_idx(tmp_path / "labels.gz")
    (tmp_path / "batch.bin").write_bytes(b"\0" * 3072)
    with pytest.raises(ValueError, match="rows of 3073"):
        read_cifar(tmp_path / "batch.bin")


def test_every_shipped_task_has_a_job_file_of_its_own_name():
    for name in shipped_names():
        path = shipped(name)
        assert path is not None
        assert tomllib.loads(path.with_suffix(".toml").read_text())["task"] == name
        if name not in ("cifar10", "table"):  # the first is large, the second has as many inputs as its table
            assert isinstance(build_model(task_of(name), {}), nn.Module)
