"""Folding: in place, in client order, within the stated error, however it was cut up."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from warren.aggregator import fold as folding
from warren.aggregator import runs
from warren.aggregator.fold import Fold, Incoming, fold
from warren.aggregator.layout import read_layout
from warren.aggregator.runs import BLOCK_ITEMS
from warren.storage.errors import ObjectMissing
from warren.storage.tensors import read_header
from warren.storage.torch_tensors import save

CLIENTS = 11  # more than one group, and not a whole number of them


def updates(dtype: torch.dtype, sizes: Sequence[int] = (3, 700, 41)) -> list[dict[str, torch.Tensor]]:
    torch.manual_seed(4)
    made = []
    for client in range(CLIENTS):
        tensors = {f"w{n}": (torch.randn(size, dtype=torch.float64) * 3).to(dtype) for n, size in enumerate(sizes)}
        made.append(tensors | {"count": torch.tensor(client), "mask": torch.tensor([client % 2 == 0])})
    return made


def write(folder: Path, made: Sequence[Mapping[str, torch.Tensor]]) -> list[Incoming]:
    files = []
    for index, tensors in enumerate(made):
        trainable = json.dumps([name for name, tensor in tensors.items() if tensor.is_floating_point()])
        save(folder / f"c{index}", tensors, {"trainable": trainable, "tied": "{}"})
        files.append(Incoming(f"c{index}", "a", folder / f"c{index}", 13 * index + 1))
    return files


def fold_of(files: Sequence[Incoming], *, double: bool = False) -> Fold:
    return Fold(read_layout(read_header(files[0].source), checkpoint=False), double=double)


def reference(
    made: Sequence[Mapping[str, torch.Tensor]], weights: Sequence[int], name: str
) -> tuple[np.ndarray, np.ndarray]:
    """The average and the mean magnitude, in float64 by numpy."""
    stacked = np.stack([tensors[name].double().numpy() for tensors in made])
    share = np.array(weights, dtype=np.float64)[:, None] / sum(weights)
    return (share * stacked).sum(0), (share * np.abs(stacked)).sum(0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("double", [False, True])
def test_the_average_is_within_the_stated_error(tmp_path: Path, dtype: torch.dtype, double: bool) -> None:
    made = updates(dtype)
    files = write(tmp_path, made)
    total = fold_of(files, double=double)
    total.add(files)
    result = total.result()
    wide = double or dtype == torch.float64
    eps = 2.0**-53 if wide else 2.0**-24
    for name in ("w0", "w1", "w2"):
        expected, magnitude = reference(made, [file.weight for file in files], name)
        assert result[name].dtype == (torch.float64 if wide else torch.float32)
        bound = (CLIENTS + 2) * eps / (1 - (CLIENTS + 2) * eps) * magnitude  # + 2: the total weight, the division
        assert (np.abs(result[name].double().numpy() - expected) <= bound + 1e-300).all()


def test_integers_are_those_of_the_first_client(tmp_path: Path) -> None:
    files = write(tmp_path, updates(torch.float32))
    total = fold_of(files)
    total.add(files[3:])
    assert total.result()["count"].item() == 3
    assert total.result()["mask"].tolist() == [False]


@pytest.mark.parametrize("cut", [[1] * CLIENTS, [4, 7], [10, 1]])
def test_however_the_updates_are_grouped_the_bits_are_the_same(tmp_path: Path, cut: list[int]) -> None:
    files = write(tmp_path, updates(torch.float32, (BLOCK_ITEMS + 77, 5)))
    whole, parts = fold_of(files), fold_of(files)
    whole.add(files)
    left = list(files)
    for count in cut:
        parts.add(left[:count])
        del left[:count]
    assert whole.folded == parts.folded == tuple((f"c{n}", "a") for n in range(CLIENTS))
    for name, tensor in whole.result().items():
        assert torch.equal(tensor, parts.result()[name])


def test_windows_blocks_and_threads_leave_the_bits_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write(tmp_path, updates(torch.float32, (300_007, 33)))
    threads = torch.get_num_threads()
    results = []
    try:
        for window, block, count in ((16 << 20, 1 << 18, 1), (4096 * 25, 1000, 1), (1 << 22, 77_777, 2)):
            monkeypatch.setattr(runs, "WINDOW_BYTES", window)
            monkeypatch.setattr(folding, "BLOCK_ITEMS", block)
            torch.set_num_threads(count)
            total = fold_of(files)
            total.add(files)
            results.append(total.result()["w0"].clone())
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_files_of_another_writer_fold_to_the_same_bits(tmp_path: Path) -> None:
    made = updates(torch.float32)
    files = write(tmp_path, made)
    ours = fold_of(files)
    ours.add(files)
    mixed = fold_of(files)
    for index, tensors in enumerate(made[:4]):  # reversed names lie in another order in the file
        header = read_header(files[index].source)
        safetensors.torch.save_file(dict(reversed(tensors.items())), files[index].source, header.metadata)
    mixed.add(files)
    for name, tensor in ours.result().items():
        assert torch.equal(tensor, mixed.result()[name])


def test_a_reset_sum_starts_anew_in_the_same_memory(tmp_path: Path) -> None:
    files = write(tmp_path, updates(torch.float32))
    total = fold_of(files)
    total.add(files)
    first = {name: tensor.clone() for name, tensor in total.result().items()}
    place = total.result()["w1"].data_ptr()
    total.reset()
    assert total.folded == ()
    total.add(files)
    assert total.result()["w1"].data_ptr() == place
    assert all(torch.equal(tensor, first[name]) for name, tensor in total.result().items())


def test_a_result_taken_twice_is_divided_once(tmp_path: Path) -> None:
    files = write(tmp_path, updates(torch.float32))
    total = fold_of(files)
    total.add(files)
    first = total.result()["w1"].clone()
    assert torch.equal(total.result()["w1"], first)
    with pytest.raises(AssertionError):
        total.add(files)


def test_equal_updates_average_to_themselves_in_float64(tmp_path: Path) -> None:
    files = write(tmp_path, [updates(torch.float32)[0]] * 5)
    total = fold_of(files, double=True)
    total.add(files)
    assert torch.equal(total.result()["w1"].float(), updates(torch.float32)[0]["w1"])


def test_fold_takes_what_the_docstring_says() -> None:
    total = torch.zeros(BLOCK_ITEMS + 3)
    ones = torch.ones(BLOCK_ITEMS + 3)
    fold(total, [ones, ones.bfloat16()], [2.0, 3.0])
    assert torch.equal(total, ones * 5)
    fold(torch.zeros(0), [torch.zeros(0)], [1.0])


@pytest.mark.parametrize("ahead", [0, 1, 8, CLIENTS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_bits_are_those_of_a_cleared_sum_that_is_divided_afterwards(
    tmp_path: Path, dtype: torch.dtype, ahead: int
) -> None:
    made = updates(dtype, (BLOCK_ITEMS + 77, 5))
    made[0]["w1"] = torch.tensor([-0.0, 0.0, 1e-40, -3.4e38, 7.0], dtype=torch.float64).to(dtype)
    for other in made[1:]:
        other["w1"] = torch.full((5,), -0.0, dtype=dtype)
    files = write(tmp_path, made)
    total = fold_of(files)
    total.add(files[:ahead])
    result = total.result(files[ahead:])
    for name in ("w0", "w1"):
        plain = torch.zeros(made[0][name].shape)
        for tensors, file in zip(made, files, strict=True):
            plain.add_(tensors[name].float(), alpha=file.weight)
        plain.div_(sum(file.weight for file in files))
        assert torch.equal(result[name].view(torch.int32), plain.view(torch.int32))


def test_what_stood_in_the_memory_of_a_sum_is_no_part_of_it(tmp_path: Path) -> None:
    files = write(tmp_path, updates(torch.float32))
    total = fold_of(files)
    first = {name: tensor.clone() for name, tensor in total.result(files).items()}
    for tensor in total.result().values():
        tensor.fill_(float("nan") if tensor.is_floating_point() else True)
    total.reset()
    assert all(torch.equal(tensor, first[name]) for name, tensor in total.result(files).items())


def test_a_file_that_is_missing_in_the_middle_leaves_no_half_of_a_sum(tmp_path: Path) -> None:
    files = write(tmp_path, updates(torch.float32))
    expected = {name: tensor.clone() for name, tensor in fold_of(files).result(files).items()}
    total = fold_of(files)
    for broken in (2, 9):
        file = files[broken].source
        file.rename(file.with_suffix(".away"))
        with pytest.raises(ObjectMissing):
            total.result(files[len(total.folded) :])
        file.with_suffix(".away").rename(file)
    left = files[len(total.folded) :]
    assert all(torch.equal(tensor, expected[name]) for name, tensor in total.result(left).items())
