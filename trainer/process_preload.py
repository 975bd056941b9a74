"""What the fork server loads once, so that training processes start in milliseconds on shared pages.

Imported by the fork server alone: it sets how that process takes signals. Nothing here may start a thread or
touch a GPU, which no fork survives.
"""

from __future__ import annotations

import gc
import signal

import torch

from . import process_child  # noqa: F401
from .runner import make_deterministic

make_deterministic()  # loads sympy and more, 2 s
torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1).step()  # loads torch's compiler, 1 s

signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it goes when its trainer goes, which may have work to hand back
gc.collect()
gc.freeze()  # keeps the collector from touching, and so copying, the pages that the children share
