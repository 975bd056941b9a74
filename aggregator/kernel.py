"""Adding several updates to a sum in one loop, compiled when it is first needed: the sum stays in registers.

One core adds an update from memory to a block of the sum in its cache at a third of the rate at which it reads both
alone: the two wait for the same line buffers of the first-level cache. No kernel of torch's reads several updates at a
time, so LLVM makes one. Its bits are those of torch's `add_` and `div_`, which is tried before it is used.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import mmap
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from .blocks import add_blocks

UPDATES_MAX = 8  # read at a time
ITEMS_MIN = 1 << 23  # of a sum: LLVM takes 80 MiB of memory, so it is not there for less than 32

_WIDENED = {  # how an item is read as a float: {k} is its update's number
    torch.float32: ("float", "%x{k} = load float, ptr %p{k}, align 1"),
    torch.bfloat16: (
        "i16",
        "%h{k} = load i16, ptr %p{k}, align 1\n  %z{k} = zext i16 %h{k} to i32\n"
        "  %b{k} = shl i32 %z{k}, 16\n  %x{k} = bitcast i32 %b{k} to float",
    ),
}
_loaded: bool | None = None  # None: not tried yet
_lock = threading.Lock()  # over LLVM's global state

log = logging.getLogger("warren.aggregator")


def load() -> None:
    """Make `add` of use, in this process. Without LLVM, or where its bits are not torch's, torch adds: same bytes."""
    global _loaded
    if _loaded is not None:
        return
    try:
        _may_run_what_it_writes()
        _loaded = _agrees()
    except Exception as error:  # whatever a compiler may meet on some machine: nothing depends on it
        _loaded = False
        log.warning("updates are added by torch's loops, which are slower: %s", error)
    else:
        if not _loaded:
            log.warning("updates are added by torch's loops, which are slower: compiled ones round otherwise here")


def takes(total: torch.dtype, update: torch.dtype) -> bool:
    """Whether `add` is of use for these: `load` was called and did well, and there is a loop for them."""
    return bool(_loaded) and total == torch.float32 and update in _WIDENED


def add(
    total: torch.Tensor,
    updates: Sequence[torch.Tensor],
    weights: Sequence[float],
    *,
    clear: bool = False,
    divisor: float | None = None,
) -> None:
    """Add weighted updates to `total` in place, in the order given; other threads run meanwhile.

    Args:
        total: (n,) float32, side by side; the caller's, changed.
        updates: 1 to `UPDATES_MAX`, each (n,) of one dtype that `takes` takes, side by side, anywhere in memory.
        weights: of each.
        clear: whether what stands in `total` counts as 0.
        divisor: by which the sum is divided at last.
    """
    count, items = len(updates), len(total)
    assert 1 <= count <= UPDATES_MAX
    assert all(len(each) == items and each.is_contiguous() for each in (total, *updates))
    if items:
        loop = _compiled(updates[0].dtype, count, clear, divisor is not None)
        pairs = [value for pair in zip(map(torch.Tensor.data_ptr, updates), weights, strict=True) for value in pair]
        loop(total.data_ptr(), items, 1.0 if divisor is None else divisor, *pairs)


def _may_run_what_it_writes() -> None:
    """Raises OSError where the system forbids it (SELinux, systemd's MemoryDenyWriteExecute): LLVM would abort."""
    mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def _agrees() -> bool:
    """Whether loops of both kinds, with a rest after the last whole vector, give torch's bits."""
    chance = torch.Generator().manual_seed(1)
    for dtype in _WIDENED:
        updates = [torch.randn(203, generator=chance).to(dtype) for _ in range(UPDATES_MAX)]
        weights = [3.7 * number + 0.1 for number in range(1, UPDATES_MAX + 1)]
        for clear, divisor in ((True, None), (False, None), (False, 11.3)):
            ours, theirs = torch.full((203,), 0.3), torch.full((203,), 0.3)
            add(ours, updates, weights, clear=clear, divisor=divisor)
            add_blocks(theirs, 203, partial(_one_of, updates), weights, clear=clear, divisor=divisor)
            if not torch.equal(ours, theirs):
                return False
    return True


def _one_of(updates: Sequence[torch.Tensor], one: int, _: int) -> torch.Tensor:
    return updates[one]


@functools.cache
def _compiled(dtype: torch.dtype, count: int, clear: bool, divide: bool) -> Callable[..., None]:
    """The loop for so many updates: 13 ms, once. It gives up Python's lock, as every call through ctypes."""
    with _lock:
        code = _machine_code(_source(dtype, count, clear, divide))
    pairs = [ctypes.c_void_p, ctypes.c_float] * count
    called: Callable[..., None] = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, *pairs)(
        code.get_function_address("add")
    )
    called.code = code  # type: ignore[attr-defined]  # as long as it is called
    return called


def _machine_code(source: str) -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    host = {"cpu": llvm.get_host_cpu_name(), "features": llvm.get_host_cpu_features().flatten(), "opt": 3}
    machine = llvm.Target.from_default_triple().create_target_machine(**host)
    module = llvm.parse_assembly(source)
    module.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = True
    passes = llvm.create_pass_builder(machine, tuning)
    passes.getModulePassManager().run(module, passes)
    code = llvm.create_mcjit_compiler(module, machine)
    code.finalize_object()
    return code


def _source(dtype: torch.dtype, count: int, clear: bool, divide: bool) -> str:
    """LLVM's text of `total[i] = (total[i] + w0 u0[i] + w1 u1[i] ...) / divisor`, each + with its * rounded once."""
    item, read = _WIDENED[dtype]
    steps, so_far = ([], "0.0") if clear else (["%before = load float, ptr %place"], "%before")
    for k in range(count):
        steps.append(f"%p{k} = getelementptr {item}, ptr %u{k}, i64 %i")
        steps.append(read.format(k=k))
        steps.append(f"%s{k} = call float @llvm.fma.f32(float %w{k}, float %x{k}, float {so_far})")
        so_far = f"%s{k}"
    if divide:
        steps.append(f"%average = fdiv float {so_far}, %divisor")
        so_far = "%average"
    updates = "".join(f", ptr noalias readonly %u{k}, float %w{k}" for k in range(count))
    body = "\n  ".join(steps)
    return f"""
declare float @llvm.fma.f32(float, float, float)
define void @add(ptr noalias %total, i64 %items, float %divisor{updates}) {{
entry:
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  %place = getelementptr float, ptr %total, i64 %i
  {body}
  store float {so_far}, ptr %place
  %next = add nuw nsw i64 %i, 1
  %done = icmp eq i64 %next, %items
  br i1 %done, label %end, label %loop
end:
  ret void
}}
"""
