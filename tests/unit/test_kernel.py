"""The compiled loop: torch's bits, or not used at all."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from warren.aggregator import kernel, passes
from warren.aggregator.fold import Fold, Incoming
from warren.aggregator.layout import read_layout
from warren.aggregator.threads import cores
from warren.storage.tensors import read_header
from warren.storage.torch_tensors import save

DTYPES = [torch.float32, torch.bfloat16]


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_loaded", None)
    kernel.load()
    assert kernel.takes(torch.float32, torch.bfloat16)


def by_torch(
    total: torch.Tensor, updates: list[torch.Tensor], weights: list[float], *, clear: bool, divisor: float | None
) -> torch.Tensor:
    total = torch.zeros_like(total) if clear else total.clone()
    for update, weight in zip(updates, weights, strict=True):
        total.add_(update.float(), alpha=weight)
    return total if divisor is None else total.div_(divisor)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", range(1, kernel.UPDATES_MAX + 1))
@pytest.mark.parametrize(("clear", "divisor"), [(True, None), (False, None), (False, 7.3), (True, 31.0)])
def test_bits_are_those_of_torch(dtype: torch.dtype, count: int, clear: bool, divisor: float | None) -> None:
    chance = torch.Generator().manual_seed(count)
    for items in (1, 7, 64, 1000, 4099):
        updates = [torch.randn(items, generator=chance).mul_(1e3).to(dtype) for _ in range(count)]
        updates[0][0], updates[-1][-1] = -0.0, 1e-40
        weights = [0.3 + 11 * number for number in range(count)]
        total = torch.randn(items, generator=chance)
        expected = by_torch(total, updates, weights, clear=clear, divisor=divisor)
        kernel.add(total, updates, weights, clear=clear, divisor=divisor)
        assert torch.equal(total.view(torch.int32), expected.view(torch.int32))


@pytest.mark.parametrize("dtype", DTYPES)
def test_updates_may_lie_anywhere_in_memory(dtype: torch.dtype) -> None:
    update = torch.arange(100).to(dtype)
    width = update.element_size()
    for shift in range(width + 1):
        data = bytearray(shift + 100 * width)
        data[shift:] = bytes(update.view(torch.uint8).numpy())
        total = torch.ones(100)
        kernel.add(total, [torch.frombuffer(data, dtype=dtype, offset=shift)], [2.0])
        assert torch.equal(total, 1 + 2 * update.float())


def test_without_items_nothing_happens() -> None:
    kernel.add(torch.zeros(0), [torch.zeros(0)], [1.0], divisor=1.0)


def test_there_is_no_loop_for_other_dtypes() -> None:
    assert not kernel.takes(torch.float64, torch.float32)
    assert not kernel.takes(torch.float32, torch.float16)


def test_without_llvm_torch_adds(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(kernel, "_loaded", None)
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)
    kernel._compiled.cache_clear()
    kernel.load()
    assert not kernel.takes(torch.float32, torch.float32)
    assert "torch's loops" in caplog.text


def test_where_no_code_may_be_made_torch_adds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(kernel, "_loaded", None)
    monkeypatch.setattr(kernel.mmap, "mmap", refused)
    kernel.load()
    assert not kernel.takes(torch.float32, torch.float32)
    assert "Permission denied" in caplog.text


def test_a_hardened_process_lives_on() -> None:
    """As under systemd's MemoryDenyWriteExecute, where LLVM would end it."""
    code = (
        "import ctypes, sys\n"
        "if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0): sys.exit(77)\n"  # PR_SET_MDWE, Linux 6.3
        "from warren.aggregator import kernel\n"
        "kernel.load()\n"
        "sys.exit(kernel._loaded)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE")
    assert done.returncode == 0, done.stderr
    assert "torch's loops" in done.stderr


def test_a_loop_that_rounds_otherwise_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = kernel._source

    def by_the_inverse(*form: Any) -> str:
        product = r"%inverse = fdiv float 1.0, %divisor\n  %average = fmul float \1, %inverse"
        return re.sub(r"%average = fdiv float (\S+), %divisor", product, source(*form))

    monkeypatch.setattr(kernel, "_loaded", None)
    monkeypatch.setattr(kernel, "_source", by_the_inverse)
    kernel._compiled.cache_clear()
    kernel.load()
    kernel._compiled.cache_clear()
    assert not kernel.takes(torch.float32, torch.float32)
    assert "round otherwise" in caplog.text


def files(folder: Path, count: int, items: int, dtype: torch.dtype) -> list[Incoming]:
    chance = torch.Generator().manual_seed(5)
    made = []
    for number in range(count):
        tensors = {"a": torch.randn(items, generator=chance).to(dtype), "b": torch.randn(33, generator=chance)}
        save(folder / str(number), tensors, {"trainable": json.dumps(["a", "b"]), "tied": "{}"})
        made.append(Incoming(f"c{number}", "a", folder / str(number), 3.0 * number + 1))
    return made


@pytest.mark.parametrize("dtype", DTYPES)
def test_files_fold_to_the_bits_of_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    updates = files(tmp_path, 11, 3 * (passes.MAPPED_BYTES // 4) + 12_345, dtype)
    layout = read_layout(read_header(tmp_path / "0"), checkpoint=False)
    ours = Fold(layout).result(updates)
    monkeypatch.setattr(kernel, "_loaded", False)
    theirs = Fold(layout).result(updates)
    for name in ("a", "b"):
        assert torch.equal(ours[name].view(torch.int32), theirs[name].view(torch.int32))


def test_only_a_large_sum_loads_the_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_loaded", None)
    files(tmp_path, 1, 1000, torch.float32)
    layout = read_layout(read_header(tmp_path / "0"), checkpoint=False)
    Fold(layout)
    assert not kernel.takes(torch.float32, torch.float32)
    monkeypatch.setattr(kernel, "ITEMS_MIN", 1033)
    Fold(layout)
    assert kernel.takes(torch.float32, torch.float32)


def test_pages_are_let_go_of_while_a_fold_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    updates = files(tmp_path, 8, 4 << 20, torch.float32)  # 16 MiB each, 128 in all
    process, mapped = psutil.Process(), [0]
    add: Callable[..., None] = kernel.add

    def watched(*given: Any, **told: Any) -> None:
        add(*given, **told)
        mapped.append(process.memory_info().shared)

    total = Fold(read_layout(read_header(tmp_path / "0"), checkpoint=False))
    monkeypatch.setattr(kernel, "add", watched)
    before = process.memory_info().shared
    total.result(updates)
    assert max(mapped) > before  # they are mapped
    assert max(mapped) - before < (cores() + 1) * 9 * passes.MAPPED_BYTES
