"""What every runner of fold.py shares: the updates, the clock, the peak of memory, one JSON object at the end.

The standard library and numpy alone: the interpreters of other frameworks' environments run it too.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

LAYERS = 10
SAMPLE = 1000

Update = list[np.ndarray]  # LAYERS arrays of float32


def updates(count: int, distinct: int, items: int) -> list[Update]:
    """`count` updates of `items` float32 in all; of more than `distinct`, the first stand for the rest again."""
    first = np.random.default_rng(7).random(items, dtype=np.float32)
    made = [first] + [first * np.float32(1 + number / 64) for number in range(1, min(count, distinct))]
    split = [np.split(update, LAYERS) for update in made]
    return [split[number % len(split)] for number in range(count)]


def weights(count: int) -> list[int]:
    """Examples of each client."""
    return [10 + number % 7 for number in range(count)]


def run(
    fold: Callable[[list[Update], Sequence[int]], Sequence[np.ndarray]],
    prepare: Callable[[list[Update], Sequence[int]], None] | None = None,
    **about: str,
) -> None:
    """Read COUNT DISTINCT ITEMS REPEATS, fold so often and once before, print the seconds and the memory.

    Args:
        fold: updates and their examples in, the layers of the average out; may keep what it needs for the next time.
        prepare: puts the updates into the form that `fold` takes; neither its time nor its memory counts.
        about: what else to say, such as a version.
    """
    count, distinct, items, repeats = map(int, sys.argv[1:5])
    given, examples = updates(count, distinct, items), weights(count)
    if prepare is not None:
        prepare(given, examples)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    idle = _status("VmRSS")
    seconds = []
    sample: list[float] = []
    for _ in range(1 + repeats):
        begun = time.perf_counter()
        average = fold(given, examples)
        seconds.append(time.perf_counter() - begun)
        sample = [float(layer[:SAMPLE].astype(np.float64).sum()) for layer in average]
        del average
    beyond = _status("VmHWM") - idle
    print(json.dumps({"seconds": seconds[1:], "beyond_mib": beyond, "idle_mib": idle, "sample": sample} | about))


def expected(count: int, distinct: int, items: int) -> list[float]:
    """The `sample` of the true average, in float64."""
    given, examples = updates(count, distinct, items), weights(count)
    total = np.zeros((LAYERS, SAMPLE))
    for update, weight in zip(given, examples, strict=True):
        total += weight * np.stack([layer[:SAMPLE] for layer in update]).astype(np.float64)
    return [float(layer.sum()) for layer in total / sum(examples)]


def _status(name: str) -> float:
    """A line of this process's status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))
