"""Squared norms of a round's changes, for strategies that step by them: the aggregator's own pass over the updates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from .combining import Updates, batched, trained_blocks
from .pieces import Piece, read_piece
from .strategies.average import Squares


def squares_of(updates: Updates, average: Callable[[Piece], torch.Tensor]) -> Squares:
    """||u_i - w||^2 of each update (||u_i||^2 where it is a change) and of their average, in float64.

    Args:
        average: gives items of the average, (items,), as updates are: weights or changes.
    """
    total = np.zeros(len(updates.sources) + 1)
    # An average may be made by the threads that work on blocks here: it is asked for before they are.
    blocks = ((block, average(block)) for block in trained_blocks(updates))
    for found in batched(blocks, lambda pair: _of_block(updates, *pair)):
        total += found
    return Squares(tuple(total[:-1].tolist()), float(total[-1]))


def _of_block(updates: Updates, block: Piece, average: torch.Tensor) -> NDArray[np.float64]:
    start = read_piece(updates.base, block).double() if updates.absolute else 0.0
    sent = [read_piece(source, block) for source in updates.sources]
    return np.array([float((each.double() - start).square_().sum()) for each in (*sent, average)])
