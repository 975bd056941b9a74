"""Warren's fold as a round has it: from files that the system has in its cache. ... REPEATS disk|FOLDER

`disk`: where this repository lies. A file system in memory may keep files in small pages alone, which cost more to map.
"""

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

CACHE = Path(__file__).parents[2] / ".cache"
FOLDS: list[Fold] = []


def main() -> None:
    folder = CACHE if sys.argv[5] == "disk" else Path(sys.argv[5])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="warren-bench-", dir=folder) as place:
        files = written(Path(place))

        def average(_: list[folded.Update], examples: Sequence[int]) -> list[np.ndarray]:
            if not FOLDS:
                FOLDS.append(Fold(read_layout(read_header(files[0]), checkpoint=False)))
            FOLDS[0].reset()
            order = enumerate(zip(examples, strict=True))
            given = (Incoming(f"c{n}", "a", files[n % len(files)], weight) for n, (weight,) in order)
            result = FOLDS[0].result(given)
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
