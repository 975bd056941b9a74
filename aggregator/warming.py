"""What every job needs and nothing touched yet: loaded before the aggregator says that it is there.

So its size while it waits is its size while it serves, less the models; and no job's first round waits for it.
"""

from __future__ import annotations

import torch

from . import by_range  # noqa: F401  what a job may need later is loaded with the rest
from .fold import fold
from .stepping import check_finite
from .strategies import fedavg, fedavgm  # noqa: F401
from .threads import cores, everywhere

ITEMS = 1 << 10


def warm_up() -> None:
    """Start the threads that fold, and have each of them go once through what a round's close does."""
    everywhere(lambda _: _once(), range(16 * cores()))
    _once()


def _once() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        total, update = torch.empty(ITEMS), torch.ones(ITEMS).to(dtype)
        fold(total, [update], [2.0], clear=True)
        fold(total, [update, update], [2.0, 1.0], divisor=5.0)
        check_finite({"": total.view(2, -1).to(dtype)})
