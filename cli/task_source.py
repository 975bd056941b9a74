"""The task that a job names: its file found, read and looked over, and never run."""

from __future__ import annotations

import ast
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from ..storage.errors import SpecInvalid
from ..trainer.task import SOURCE_BYTES_MAX, shipped, shipped_names
from .lazy import nearest

NEEDED = ("model", "data")


@dataclass(frozen=True, slots=True)
class TaskSource:
    """A task's source as it is stored with the job."""

    name: str  # for people, and in the job's id
    file: str
    body: bytes

    @property
    def digest(self) -> str:
        """The sha256 by which trainers know the task."""
        return hashlib.sha256(self.body).hexdigest()


def shipped_job_file(name: str) -> Path | None:
    """The job file that ships with a task: what `warren run NAME` runs."""
    task = shipped(name)
    path = task.with_suffix(".toml") if task else None
    return path if path and path.is_file() else None


def find_task(task: str, folder: Path) -> TaskSource:
    """The task named in a job file.

    Args:
        task: a file ending in `.py`, or the name of a task that ships.
        folder: where the job file lies.

    Raises:
        SpecInvalid: no such file or name, too long, or plainly no task; the words say what was expected.
    """
    if task.endswith(".py"):
        path = folder / task
    elif found := shipped(task):
        path = found
    else:
        known = ", ".join(shipped_names())
        raise SpecInvalid(
            f"task {task!r} is neither a file (ending in .py) nor one that ships"
            f"{nearest(task, shipped_names())} Those that ship: {known}."
        )
    return _looked_over(TaskSource(path.stem, path.name, _read(path)))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            body = file.read(SOURCE_BYTES_MAX + 1)
    except OSError as error:
        raise SpecInvalid(f"task: can't read {path}: {error.strerror}.") from None
    if len(body) > SOURCE_BYTES_MAX:
        raise SpecInvalid(f"task: {path} is over {SOURCE_BYTES_MAX >> 20} MiB. A task is one file of source.")
    return body


def _looked_over(source: TaskSource) -> TaskSource:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", source.file):
        raise SpecInvalid(f"task: {source.file!r} has more in its name than letters, digits, '_', '.' and '-'.")
    try:
        tree = ast.parse(source.body, source.file)
    except SyntaxError as error:
        raise SpecInvalid(f"{source.file} line {error.lineno}: {error.msg}.") from None
    except (ValueError, RecursionError) as error:
        raise SpecInvalid(f"{source.file} is not Python: {error}.") from None
    bound = _bound(tree)
    for name in NEEDED:
        if name not in bound and "*" not in bound:
            raise SpecInvalid(f"{source.file} defines no {name}(): a task needs model(…) and data(client, …).")
    return source


def _bound(tree: ast.Module) -> set[str]:
    """The names that the module's own statements bind (also under `if` and `try`)."""
    names: set[str] = set()
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(leaf.id for target in targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name))
        else:
            waiting.extend(child for child in ast.walk(node) if isinstance(child, ast.stmt) and child is not node)
    return names
