"""From a GPU into the store and back, beside what PCIe and the store give: python benchmarks/gpu_path.py

A model of 400 MB (float32, ten tensors) on the device. *PCIe* copies it between the device and pinned memory; *the
store* puts and gets a file of as many bytes. *Device to file* is what a training process does with an update: the
tensors come through the ring of pinned buffers (storage/torch_staging.py), each block digested and written while the
next is copied; *whole, then written* is the way without a ring, by pageable memory. *Device to store* puts the file
then, or sends it while it is written. *Store to device* is what becomes of a checkpoint: got, mapped, and copied
through the ring, *file to device*. Files lie in /dev/shm. Where torch finds no GPU it says so and ends with 0.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import report
import torch
from rig import Rig, rig

from warren.storage.digests import passing
from warren.storage.growing import Growing
from warren.storage.torch_staging import to_device
from warren.storage.torch_tensors import map_file, save

NAME = "gpu_path"
BYTES, TENSORS = 4 * 10**8, 10
REPEATS = 6  # and one before them


def rates(work: Callable[[], object]) -> dict[str, Any]:
    """GB/s of the model's bytes."""
    found = []
    for _ in range(1 + REPEATS):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        work()
        torch.cuda.synchronize()
        found.append(1e-9 * BYTES / (time.perf_counter() - begun))
    return report.spread(found[1:])


def measure(on: Rig, folder: Path) -> dict[str, Any]:
    items = BYTES // 4 // TENSORS
    model = {f"part{number}": torch.randn(items, device="cuda") for number in range(TENSORS)}
    pinned = {name: torch.empty(items, pin_memory=True) for name in model}
    file, got, key = folder / "update", folder / "got", "gpu/update"
    save(file, model, {}, passing)

    def put() -> None:
        on.store.delete(key)
        on.store.create(key, file)

    def get() -> None:
        on.store.fetch(key, got, limit=2 * BYTES)

    def written() -> None:
        save(file, model, {}, passing, over=True)

    def whole() -> None:
        save(file, {name: tensor.cpu() for name, tensor in model.items()}, {}, passing)

    def out() -> None:
        written()
        put()

    def early() -> None:
        on.store.delete(key)
        with ThreadPoolExecutor(1) as beside:
            sent: list[tuple[Growing, Future[bool]]] = []

            def wrote(size: int, done: int) -> None:
                if not done:
                    growing = Growing(file, size)
                    sent.append((growing, beside.submit(on.store.create_growing, key, growing)))
                sent[0][0].grown(done)

            save(file, model, {}, passing, over=True, wrote=wrote)
            ((growing, put),) = sent
            growing.finish()
            put.result()

    def loaded() -> None:
        to_device([(model[name], tensor) for name, tensor in map_file(got).items()])

    def back() -> None:
        get()
        loaded()

    def copy(over: dict[str, torch.Tensor], under: dict[str, torch.Tensor]) -> None:
        for name, tensor in under.items():
            over[name].copy_(tensor, non_blocking=True)

    return {
        "PCIe, device to pinned memory": rates(lambda: copy(pinned, model)),
        "PCIe, pinned memory to device": rates(lambda: copy(model, pinned)),
        "the store, put": rates(put),
        "the store, get": rates(get),
        "device to file": rates(written),
        "device to file, whole, then written": rates(whole),
        "device to store": rates(out),
        "device to store, sent while it is written": rates(early),
        "file to device": rates(loaded),
        "store to device": rates(back),
    }


def main() -> None:
    if not torch.cuda.is_available():
        print("no GPU here: nothing was measured")
        return
    about = report.machine() | {"gpu": torch.cuda.get_device_name()}
    with rig(trainers=0) as on, tempfile.TemporaryDirectory(dir="/dev/shm", prefix="warren-bench-") as place:
        rows = measure(on, Path(place))
    report.save(NAME, {"rows": rows, "machine": about})
    print(report.table(("400 MB fp32", "GB/s"), [[name, report.shown(spread)] for name, spread in rows.items()]))


if __name__ == "__main__":
    main()
