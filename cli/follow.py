"""Follows a job until it ends: looks, shows, looks again."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..storage.errors import StorageUnavailable
from .errors import DONE, FAILED, WAITS
from .screens import Screen
from .status import JobStatus, StatusReader

PATIENCE_SECONDS = 60.0  # so long a store may be away before following gives up


def follow(
    reader: StatusReader,
    screen: Screen,
    *,
    period_seconds: float,
    stop_at_pause: bool,
    checked: Callable[[], None] = lambda: None,
) -> JobStatus:
    """Show the job until it has ended, or is paused where that is the end of what can happen.

    Args:
        reader: of the job.
        screen: where to show it; closed by the caller.
        period_seconds: between two looks.
        stop_at_pause: whether a paused job ends the following.
        checked: called at each look; may raise to end it.

    Raises:
        StorageUnavailable: the store was away for `PATIENCE_SECONDS`.
    """
    answered = time.monotonic()
    while True:
        checked()
        try:
            status = reader.read()
            answered = time.monotonic()
        except StorageUnavailable:
            if time.monotonic() - answered > PATIENCE_SECONDS:
                raise
        else:
            screen.show(status)
            if status.ended or (stop_at_pause and status.state == "paused"):
                return status
        time.sleep(period_seconds)


def exit_code(status: JobStatus) -> int:
    """How a command that followed the job to here ends."""
    return {"done": DONE, "paused": WAITS}.get(status.state, FAILED)
