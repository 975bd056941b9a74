"""FedAvg of a few items of each update learns the digits if what is left out is kept, and less if it is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from warren.storage.codecs.forms import Form
from warren.storage.codecs.packing import pack, unpack_file
from warren.storage.compress import CompressSpec
from warren.storage.tensors import read_header, write_file
from warren.storage.torch_tensors import map_file, row_of
from warren.trainer.packed import Chance, fed_back

CLIENTS, ROUNDS, STEPS, RATE = 5, 40, 5, 0.5
Tensors = dict[str, torch.Tensor]


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return torch.from_numpy(pixels[order] / 16).float(), torch.from_numpy(labels[order])


def trained(start: Tensors, x: torch.Tensor, y: torch.Tensor) -> Tensors:
    """The delta of some steps of softmax regression. numpy: torch's threads wait for busy cores."""
    w, b = (start[name].numpy().copy() for name in ("w", "b"))
    inputs, wanted = x.numpy(), np.eye(10, dtype=np.float32)[y.numpy()]
    for _ in range(STEPS):
        scores = np.exp(inputs @ w + b)
        error = (scores / scores.sum(1, keepdims=True) - wanted) / len(inputs)
        w -= np.float32(RATE) * (inputs.T @ error)
        b -= np.float32(RATE) * error.sum(0)
    return {"w": torch.from_numpy(w) - start["w"], "b": torch.from_numpy(b) - start["b"]}


def sent(folder: Path, spec: CompressSpec, update: Tensors) -> Tensors:
    """What arrives of an update that travels through a file."""
    forms = []
    rows = []
    for name, tensor in update.items():
        _, dtype, shape, data = row_of(name, tensor)
        forms.append(Form(name, dtype, shape))
        rows += pack(spec, forms[-1], data, trained=True, draw=Chance(0))
    write_file(folder / "packed", rows, {})
    unpack_file(folder / "packed", read_header(folder / "packed"), spec, forms, set(update), folder / "plain")
    return map_file(folder / "plain")


def accuracy(folder: Path, spec: CompressSpec) -> float:
    x, y = digits()
    shares = torch.arange(1500).chunk(CLIENTS)
    model = {"w": torch.zeros(64, 10), "b": torch.zeros(10)}
    kept: list[Tensors] = [{} for _ in shares]
    for _ in range(ROUNDS):
        updates = []
        for client, share in enumerate(shares):
            update = trained(model, x[share], y[share])
            if spec.feeds_back:
                update, kept[client] = fed_back(spec, update, list(update), kept[client])
            updates.append(sent(folder, spec, update))
        for name, tensor in model.items():
            tensor += torch.from_numpy(np.mean([update[name].numpy() for update in updates], axis=0))
    found = (x[1500:] @ model["w"] + model["b"]).argmax(1)
    return float((found == y[1500:]).float().mean())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> float:
    return accuracy(tmp_path_factory.mktemp("whole"), CompressSpec())


def test_with_one_item_in_fifty_and_error_feedback_the_digits_are_learnt(tmp_path: Path, whole: float) -> None:
    with_memory = accuracy(tmp_path, CompressSpec(to="topk", share=0.02))
    without = accuracy(tmp_path, CompressSpec(to="topk", share=0.02, error_feedback=False))
    assert whole > 0.9
    assert with_memory > whole - 0.02
    assert without < with_memory


@pytest.mark.parametrize("spec", [CompressSpec(to="int8"), CompressSpec(to="bf16")], ids=["int8", "bf16"])
def test_eight_and_sixteen_bits_cost_nothing_to_speak_of(tmp_path: Path, whole: float, spec: CompressSpec) -> None:
    assert accuracy(tmp_path, spec) > whole - 0.01
