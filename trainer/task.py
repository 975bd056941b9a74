"""A task file: find one that ships, load one by its path, and say what is wrong with it by file and line."""

from __future__ import annotations

import hashlib
import importlib.metadata
import linecache
import platform
import sys
import tomllib
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from .errors import TaskError

SOURCE_BYTES_MAX = 4 << 20  # of a task file
_CODE_MARK = "<task "  # how the code's own name for its file begins: no folder of this machine stands in it
_SHIPPED = Path(__file__).with_name("tasks")


@dataclass(frozen=True, slots=True)
class Client:
    """Whose data is asked for: what a task's `data(client)` is given.

    Attributes:
        name: the client's name, unique in its job.
        index: its place among the job's clients, from 0.
        count: how many clients the job has.
        site: the site's name, or None in a pool.
        data_dir: the folder that the trainer was started with (`--data-dir`), or None.
        seed: the same for every client of a job, so that all agree on one partition.
    """

    name: str
    index: int
    count: int
    site: str | None
    data_dir: Path | None
    seed: int


@dataclass(frozen=True, slots=True)
class Task:
    """A loaded task file."""

    file: str
    digest: str  # sha256 of its source
    module: ModuleType

    def function(self, name: str) -> Callable[..., Any] | None:
        """The function of this name, or None where the file has none."""
        found = getattr(self.module, name, None)
        if found is None:
            return None
        if not callable(found):
            raise TaskError(f"{name} must be a function, got {type(found).__name__}", file=self.file)
        return found  # type: ignore[no-any-return]

    def needed(self, name: str, signature: str) -> Callable[..., Any]:
        """The function of this name. Raises TaskError where the file has none."""
        found = self.function(name)
        if found is None:
            raise TaskError(f"the task must have a function {signature}", file=self.file)
        return found

    def mistake(self, words: str, function: Callable[..., Any] | None = None) -> TaskError:
        """An error that points at the function's first line."""
        code = getattr(function, "__code__", None)
        own = code is not None and is_task_code(code.co_filename)
        return TaskError(words, file=self.file, line=code.co_firstlineno if own and code is not None else 0)


def shipped(name: str) -> Path | None:
    """The file of a task that ships, by its name (`breast-cancer`); None where none has it."""
    return _SHIPPED / f"{name.replace('-', '_')}.py" if name in shipped_names() else None


def shipped_names() -> list[str]:
    """The names of the tasks that ship, sorted."""
    files = (file.stem for file in _SHIPPED.glob("*.py"))
    return sorted(stem.replace("_", "-") for stem in files if not stem.startswith("_"))


def load_task(path: Path, *, needs: Sequence[str] = ("model", "data"), digest: str | None = None) -> Task:
    """Run a task file and check that it has the functions that are needed.

    Each load is a module of its own, so two versions of one file may live side by side. With a `digest`, only
    a source with that sha256 is run.

    Raises:
        TaskError: the file can't be read or run, names packages that are missing, or lacks a function.
    """
    source = _read(path)
    found = hashlib.sha256(source).hexdigest()
    if digest not in (None, found):
        raise TaskError(f"is {found[:12]}, and the job was submitted with {str(digest)[:12]}", file=path.name)
    text = _decode(source, path.name)
    check_dependencies(text, path.name)
    task = Task(path.name, found, _run(path, text, found))
    for name in needs:
        task.needed(name, {"model": "model(**params)", "data": "data(client)"}.get(name, f"{name}()"))
    return task


def is_task_code(filename: str) -> bool:
    """Whether a frame's file name is that of a loaded task."""
    return filename.startswith(_CODE_MARK)


def place_of(error: BaseException) -> tuple[str, int]:
    """(file, line) of the last frame inside a task file, or ("", 0)."""
    if isinstance(error, TaskError):
        return error.file, error.line
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if is_task_code(frame.filename)]
    return (inside[-1].filename.partition("/")[2], inside[-1].lineno or 0) if inside else ("", 0)


def check_dependencies(text: str, file: str) -> None:
    """Compare the file's script metadata (PEP 723) with what is installed here; nothing is ever installed.

    Raises:
        TaskError: names every package that is missing or of another version.
    """
    metadata = script_metadata(text, file)
    wanted = metadata.get("dependencies", [])
    if not isinstance(wanted, list):
        raise TaskError("script metadata: dependencies must be a list of strings", file=file)
    lacking = [words for words in (_lacking(str(line), file) for line in wanted) if words]
    lacking += _wrong_python(str(metadata.get("requires-python", "")), file)
    if lacking:
        raise TaskError(f"needs {', '.join(lacking)}. Install it in the trainer's environment.", file=file)


def script_metadata(text: str, file: str) -> dict[str, Any]:
    """The TOML of the file's `# /// script` block; empty where it has none."""
    lines = text.splitlines()
    if "# /// script" not in lines:
        return {}
    start = lines.index("# /// script") + 1
    block: list[str] = []
    for line in lines[start:]:
        if line == "# ///":
            break
        if not (line == "#" or line.startswith("# ")):
            raise TaskError("script metadata: '# ///' must close the block", file=file, line=start)
        block.append(line[2:])
    else:
        raise TaskError("script metadata: '# ///' must close the block", file=file, line=start)
    try:
        return tomllib.loads("\n".join(block))
    except tomllib.TOMLDecodeError as error:
        raise TaskError(f"script metadata: {error}", file=file, line=start) from None


def _lacking(line: str, file: str) -> str:
    """What is missing for one requirement; empty where it is met."""
    try:
        wanted = Requirement(line)
    except InvalidRequirement as error:
        raise TaskError(f"script metadata: {str(error).splitlines()[0]}", file=file) from None
    if wanted.marker is not None and not wanted.marker.evaluate():
        return ""
    try:
        here = importlib.metadata.version(canonicalize_name(wanted.name))
    except importlib.metadata.PackageNotFoundError:
        return f"{wanted.name}{wanted.specifier}, which is not installed here"
    if wanted.specifier.contains(here, prereleases=True):
        return ""
    return f"{wanted.name}{wanted.specifier}, where {here} is installed"


def _wrong_python(wanted: str, file: str) -> list[str]:
    try:
        fits = SpecifierSet(wanted).contains(platform.python_version(), prereleases=True)
    except InvalidSpecifier as error:
        raise TaskError(f"script metadata: {error}", file=file) from None
    return [] if fits else [f"Python {wanted}, where this is {platform.python_version()}"]


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            source = file.read(SOURCE_BYTES_MAX + 1)
    except OSError as error:
        raise TaskError(f"can't be read: {error.strerror or error}", file=path.name) from None
    if len(source) > SOURCE_BYTES_MAX:
        raise TaskError(f"is over the limit of {SOURCE_BYTES_MAX} bytes for a task file", file=path.name)
    return source


def _decode(source: bytes, file: str) -> str:
    try:
        return source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TaskError(f"is not UTF-8 text: {error.reason}", file=file) from None


def _run(path: Path, text: str, digest: str) -> ModuleType:
    """The module that the source makes, its lines kept for tracebacks after the file is gone."""
    code_name = f"{_CODE_MARK}{digest[:8]}>/{path.name}"
    module = ModuleType(f"warren_task_{digest[:16]}")
    module.__file__ = str(path)
    linecache.cache[code_name] = (len(text), None, text.splitlines(keepends=True), code_name)
    sys.modules[module.__name__] = module  # dataclasses and typing look a class's module up
    try:
        exec(compile(text, code_name, "exec"), module.__dict__)
    except SyntaxError as error:
        raise TaskError(f"{type(error).__name__}: {error.msg}", file=path.name, line=error.lineno or 0) from error
    except Exception as error:
        _, line = place_of(error)
        raise TaskError(f"{type(error).__name__}: {error}", file=path.name, line=line) from error
    return module
