"""From an exception to a failure: what may leave the trainer, and what stays in its log."""

from __future__ import annotations

import secrets
import traceback

from ..broker.messages import TEXT_MAX, Failure
from .errors import TaskError, TrainerError
from .task import is_task_code, place_of
from .wire import SHARED_TRACE_CHARS, TRACE_BYTES_MAX, TaskFailed

NAME_MAX = 255
_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "out of memory")


def failure_of(error: BaseException, *, shared: bool) -> TaskFailed:
    """The failure of a task's work.

    Args:
        shared: whether the exception's words may leave the trainer (they can hold what the data holds).
    """
    file, line = place_of(error)
    words = _words(error)
    trace = _trace(error)
    text = f"{words}\n{trace[-SHARED_TRACE_CHARS:]}"[:TEXT_MAX] if shared else ""
    failure = Failure(
        error=_kind(error)[:NAME_MAX],
        file=file[:NAME_MAX],
        line=max(0, line),
        id=secrets.token_hex(4),
        text=text,
    )
    return TaskFailed(failure, f"{words}\n{trace}" if isinstance(error, TaskError) else trace)


def out_of_memory(error: BaseException) -> bool:
    """Whether the machine or the GPU had no memory left: the client fails, the process goes on."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _MEMORY_WORDS)


def device_is_lost(error: BaseException) -> bool:
    """Whether the GPU refuses all further work of this process (a failed assertion on it, a fault)."""
    return type(error).__name__ == "AcceleratorError" or "CUDA error" in str(error)


def _kind(error: BaseException) -> str:
    """The exception's type; what a task's mistake came from rather than our word for it."""
    if out_of_memory(error):
        return "OutOfMemory"
    cause = error.__cause__ if isinstance(error, TaskError) else None
    return type(cause or error).__name__


def _words(error: BaseException) -> str:
    """The exception's own words in one line, without the place, which stands in fields of its own."""
    words = Exception.__str__(error) if isinstance(error, TaskError) else str(error)
    return " ".join(words.split())[: TEXT_MAX // 2]


def _trace(error: BaseException) -> str:
    """The traceback from the first frame of the task on; of our own mistakes, all of it."""
    if isinstance(error, TrainerError) and error.__cause__ is None:
        return ""
    source = error.__cause__ if isinstance(error, TaskError) and error.__cause__ is not None else error
    frames = traceback.extract_tb(source.__traceback__)
    first = next((number for number, frame in enumerate(frames) if is_task_code(frame.filename)), 0)
    lines = traceback.format_list(frames[first:]) + traceback.format_exception_only(source)
    text = "".join(lines)
    encoded = text.encode(errors="replace")
    return text if len(encoded) <= TRACE_BYTES_MAX else "…" + encoded[-TRACE_BYTES_MAX:].decode(errors="ignore")
