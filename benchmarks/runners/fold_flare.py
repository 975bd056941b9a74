"""FLARE's weighted sum, on torch tensors. COUNT DISTINCT ITEMS REPEATS SITE_PACKAGES

SITE_PACKAGES holds a torch, for its own environment has none.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version

import folded
import numpy as np

sys.path.append(sys.argv[5])

import torch
from nvflare.app_common.aggregators.weighted_aggregation_helper import WeightedAggregationHelper


def average(given: list[folded.Update], examples: Sequence[int]) -> list[np.ndarray]:
    helper = WeightedAggregationHelper()
    for number, (update, weight) in enumerate(zip(given, examples, strict=True)):
        data = {f"layer{n}": torch.from_numpy(layer) for n, layer in enumerate(update)}
        helper.add(data, weight, f"c{number}", 0)
    return [tensor.numpy() for tensor in helper.get_result().values()]


folded.run(average, version=f"nvflare {version('nvflare')}")
