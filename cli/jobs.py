"""Which job is meant (a whole id, the start of one, `@last`), and the commands that jobs obey."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from ..aggregator.events import ControlState
from ..aggregator.record import Record
from ..broker.errors import BrokerError
from ..storage import keys
from ..storage.documents import Control, write_document
from .connect import View, who
from .errors import CliError, UsageMistake
from .lazy import nearest

TRIES_MAX = 8  # lost races for the next control document
_ENDS = {"cancel": "cancelled", "fail": "failed", "done": "done"}


def find_job(view: View, text: str) -> str:
    """The id of the job that is meant.

    Raises:
        UsageMistake: none, or several, start so; they are named.
    """
    if text == "@last":
        return _last(view)
    if not keys.is_name(text):
        raise UsageMistake(f"{text!r} is no job's id: letters, digits and '-', or @last.")
    if view.store.stat(keys.spec(text)) is not None:
        return text
    known = list(view.store.folders("jobs/"))
    found = [job for job in known if job.startswith(text)]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(found[:5]) + (" …" if len(found) > 5 else "")
        raise UsageMistake(f"{len(found)} jobs start with {text!r}: {listed}. Write more of the id.")
    raise UsageMistake(f"no job {text!r} in {view.place}{nearest(text, known)} `warren job list` names them.")


def remember(place: str, job: str) -> None:
    """Make this job `@last` of its store, on this machine. A home that can't be written is no error."""
    path = _last_path(place)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(job, encoding="utf-8")
    except OSError:
        return


def _last(view: View) -> str:
    try:
        job = _last_path(view.place).read_text(encoding="utf-8")[:63]
    except (OSError, UnicodeDecodeError):
        job = ""
    if not keys.is_name(job) or view.store.stat(keys.spec(job)) is None:
        raise UsageMistake(f"@last: no job was started from here in {view.place}. `warren job list` names them.")
    return job


def _last_path(place: str) -> Path:
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "warren" / "last" / hashlib.sha256(place.encode()).hexdigest()[:16]


def command_job(
    view: View, job: str, command: Literal["pause", "resume", "cancel"], reason: str = ""
) -> tuple[bool, ControlState]:
    """Write the command, and tell the leader. A job that already obeys it is left as it is.

    Returns:
        Whether a command was written, and the one in force.

    Raises:
        CliError: the job has ended, or others command it at the same time.
    """
    record = Record(view.store, job)
    wanted = "run" if command == "resume" else command
    control = Control(command=command, reason=reason, by=who(), at=datetime.now(UTC).isoformat(timespec="seconds"))
    for _ in range(TRIES_MAX):
        state = record.control()
        if state.command == wanted:
            return False, state
        if state.command in _ENDS:
            raise CliError(f"{job} is {_ENDS[state.command]} already{_because(state.reason)}")
        if view.store.create(
            keys.control(job, state.number + 1), write_document(control), content_type="application/json"
        ):
            _nudge(view, job)
            return True, record.control()
    raise CliError(f"{job}: others command it at the same time. Try again.")


def _because(reason: str) -> str:
    return f": {reason}" if reason else "."


def _nudge(view: View, job: str) -> None:
    """The leader looks by itself before each step; a nudge makes it look at once."""
    if view.news is not None:
        try:
            view.news.nudge(job)
        except BrokerError:
            return
