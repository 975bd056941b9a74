"""What the fork server loads once, so that training processes start in milliseconds on shared pages.

Imported by the fork server alone: it sets how that process takes signals. Nothing here may start a thread or
touch a GPU, which no fork survives.
"""

from __future__ import annotations

import gc
import signal

from . import process_child  # noqa: F401

signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it goes when its trainer goes, which may have work to hand back
gc.collect()
gc.freeze()  # keeps the collector from touching, and so copying, the pages that the children share
