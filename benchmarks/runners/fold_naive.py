"""The loop over state dicts that tutorials write. COUNT DISTINCT ITEMS REPEATS"""

from __future__ import annotations

from collections.abc import Sequence

import folded
import numpy as np
import torch


def average(given: list[folded.Update], examples: Sequence[int]) -> list[np.ndarray]:
    states = [{f"layer{n}": torch.from_numpy(layer) for n, layer in enumerate(update)} for update in given]
    total = {name: torch.zeros_like(tensor) for name, tensor in states[0].items()}
    for state, weight in zip(states, examples, strict=True):
        for name in total:
            total[name] += state[name] * (weight / sum(examples))
    return [tensor.numpy() for tensor in total.values()]


folded.run(average)
