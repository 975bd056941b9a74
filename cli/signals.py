"""How a service is asked to stop: SIGTERM or Ctrl-C drains it, a second Ctrl-C does not wait."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

from .errors import INTERRUPTED


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set. A second SIGINT ends the process at once: nothing is lost."""
    stop = threading.Event()

    def asked(number: int, _: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            os._exit(INTERRUPTED)
        if not stop.is_set():
            os.write(sys.stderr.fileno(), b"warren: stopping; again Ctrl-C to not wait\n")
        stop.set()

    signal.signal(signal.SIGTERM, asked)
    signal.signal(signal.SIGINT, asked)
    return stop
