"""Following a job over the servers: what `watch` and `submit --follow` share."""

from __future__ import annotations

import click

from .connect import View
from .errors import INTERRUPTED
from .follow import exit_code, follow
from .screens import open_screen
from .status import StatusReader

PERIOD_SECONDS = 1.0


def follow_job(view: View, job: str, *, as_json: bool) -> int:
    """Show the job until it ends; Ctrl-C detaches from it. Returns the exit code."""
    reader = StatusReader(view.store, job, view.ledger, room=True)
    screen = open_screen(as_json)
    try:
        status = follow(reader, screen, period_seconds=PERIOD_SECONDS, stop_at_pause=not screen.live)
    except KeyboardInterrupt:
        screen.close()
        click.echo(f"warren: detached; {job} goes on. `warren watch {job}` follows it again.", err=True)
        return INTERRUPTED
    finally:
        screen.close()
    return exit_code(status)
