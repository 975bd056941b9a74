"""Warren's fold as a round has it: from mapped files, here in memory (/dev/shm). COUNT DISTINCT ITEMS REPEATS"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import folded
import numpy as np
import torch

from warren.aggregator.fold import Fold, Incoming
from warren.aggregator.layout import read_layout
from warren.storage.tensors import read_header
from warren.storage.torch_tensors import save

FOLDS: list[Fold] = []


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="warren-bench-", dir="/dev/shm") as place:
        files = written(Path(place))

        def average(_: list[folded.Update], examples: Sequence[int]) -> list[np.ndarray]:
            if not FOLDS:
                FOLDS.append(Fold(read_layout(read_header(files[0]), checkpoint=False)))
            FOLDS[0].reset()
            order = enumerate(zip(examples, strict=True))
            FOLDS[0].add(Incoming(f"c{n}", "a", files[n % len(files)], weight) for n, (weight,) in order)
            result = FOLDS[0].result()
            return [result[f"layer{n}"].numpy() for n in range(folded.LAYERS)]

        folded.run(average)


def written(folder: Path) -> list[Path]:
    count, distinct, items = map(int, sys.argv[1:4])
    paths = []
    for number, update in enumerate(folded.updates(min(count, distinct), distinct, items)):
        tensors = {f"layer{n}": torch.from_numpy(layer) for n, layer in enumerate(update)}
        paths.append(folder / f"{number}")
        save(paths[-1], tensors, {"trainable": json.dumps(list(tensors)), "tied": "{}"})
    return paths


main()
