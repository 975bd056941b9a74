"""Adding updates to a sum by torch's loops, block by block: what happens to a block happens while it is in cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch


def add_blocks(
    total: torch.Tensor,
    size: int,
    part: Callable[[int, int], torch.Tensor],
    weights: Sequence[float],
    *,
    clear: bool,
    divisor: float | None,
) -> None:
    """Add updates by torch's loops, block by block.

    Args:
        total: changed.
        size: items of a block.
        part: `part(one, number)` gives the items of an update that go to this block, used before the next is asked for.
        weights: of each update.
        clear: whether what stands in `total` counts as 0.
        divisor: by which the sum is divided at last.
    """
    scratch: torch.Tensor | None = None
    for number, block in enumerate(torch.split(total, size)):
        if clear:
            block.zero_()
        for one, weight in enumerate(weights):
            same = part(one, number)
            if same.dtype != total.dtype:
                # add_ of two dtypes converts item by item: 8 times slower than a copy that converts, then an add
                scratch = torch.empty_like(block) if scratch is None else scratch
                same = scratch[: len(same)].copy_(same)
            block.add_(same, alpha=weight)
        if divisor is not None:
            block.div_(divisor)
