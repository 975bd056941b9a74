"""The job file: TOML and options, to a checked `JobSpec`; each mistake is answered with its line."""

from __future__ import annotations

import re
import secrets
import string
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..aggregator.strategies.checking import check as check_strategy
from ..storage.balance import BalanceSpec
from ..storage.compress import CompressSpec
from ..storage.errors import SpecInvalid
from ..storage.job import EvaluateSpec, JobSpec, ReducerSpec, StrategySpec, TrainSpec, make_spec, seconds
from ..storage.schedule import ScheduleSpec
from ..storage.track import TrackSpec
from ..trainer.task import shipped_names
from .lazy import nearest
from .task_source import TaskSource, find_task, shipped_job_file
from .toml_text import line_of, read_value, write_toml

JOB_FILE_BYTES_MAX = 1 << 20
_ID_RANDOM = 6  # letters and digits: 2 billion ids a task
_OURS = {"version", "job", "submitted"}  # of the spec, not of a job file
_SPANS = {"deadline_seconds": "deadline"}  # the spec's name, and the job file's, which wants a unit
TOP = tuple(_SPANS.get(name, name) for name in JobSpec.model_fields if name not in _OURS)
SECTIONS: dict[str, tuple[str, ...]] = {
    "train": tuple(TrainSpec.model_fields),
    "evaluate": tuple(_SPANS.get(name, name) for name in EvaluateSpec.model_fields),
    "schedule": tuple(ScheduleSpec.model_fields),
    "balance": tuple(BalanceSpec.model_fields),
    "compress": tuple(CompressSpec.model_fields),
    "track": tuple(TrackSpec.model_fields),
}
FREE = ("strategy", "reducer", "params", "data")  # tables whose further keys are options of their own
OPEN = {"strategy": tuple(StrategySpec.model_fields), "reducer": tuple(ReducerSpec.model_fields)}  # and options
Path_ = tuple[str, ...]


@dataclass(slots=True)
class Draft:
    """A job before it is checked: fields in the job file's words, and where each was said."""

    fields: dict[str, Any]
    folder: Path  # what `task` is relative to
    name: str = ""  # the job file's, for errors
    source: str = ""
    said: dict[Path_, str] = field(default_factory=dict)  # by an option, not by the file

    def set(self, path: Path_, value: Any, option: str) -> None:
        """Set a field to what an option says; it wins over the file."""
        table = self.fields
        for part in path[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise SpecInvalid(f"{option}: {part} is no table.")
        table[path[-1]] = value
        self.said[path] = option

    def where(self, path: Path_) -> str:
        """Where a field was said: an option, a line of the file, or the file."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.said:
                return self.said[path[:length]]
        line = line_of(self.source, path)
        return f"{self.name} line {line}" if line else self.name

    def mistake(self, path: Path_, what: str) -> SpecInvalid:
        """The error that says where the mistake stands, then what it is."""
        place = self.where(path)
        return SpecInvalid(f"{place}: {what}" if place else what)


def start_draft(job: str) -> Draft:
    """From the command line's word: a job file, a task file, or the name of a task that ships.

    Raises:
        SpecInvalid: none of them, unreadable, or not TOML.
    """
    if job.endswith(".py"):
        return Draft({"task": job}, Path())
    if Path(job).is_file() or job.endswith(".toml") or "/" in job:
        return read_job_file(Path(job))
    if job in shipped_names():
        path = shipped_job_file(job)
        return read_job_file(path) if path else Draft({"task": job}, Path())
    raise SpecInvalid(
        f"{job!r} is neither a job file (.toml), a task (.py), nor a task that ships"
        f"{nearest(job, shipped_names())} Those that ship: {', '.join(shipped_names())}."
    )


def read_job_file(path: Path) -> Draft:
    """The job file's fields, not yet checked. Raises SpecInvalid."""
    try:
        with path.open("rb") as file:
            body = file.read(JOB_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise SpecInvalid(f"can't read {path}: {error.strerror}.") from None
    if len(body) > JOB_FILE_BYTES_MAX:
        raise SpecInvalid(f"{path} is over {JOB_FILE_BYTES_MAX >> 20} MiB: not a job file.")
    try:
        source = body.decode()
        fields = tomllib.loads(source)
    except UnicodeDecodeError:
        raise SpecInvalid(f"{path} is not UTF-8 text: not a job file.") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SpecInvalid(_toml_mistake(path.name, source, str(error))) from None
    return Draft(fields, path.parent, path.name, source)


def _toml_mistake(name: str, source: str, message: str) -> str:
    found = re.search(r"\s*\(at (?:line (\d+), column \d+|end of document)\)", message)
    if not found:
        return f"{name}: {message}"
    line = found[1] or len(source.splitlines())
    return f"{name} line {line}: not TOML: {message[: found.start()]}."


def apply_options(draft: Draft, settings: Sequence[str], params: Sequence[str]) -> None:
    """`--set train.lr=0.05` and `-P hidden=128`, in the order given. Raises SpecInvalid."""
    for text in settings:
        key, value = _pair(text, "--set", "train.lr=0.05")
        draft.set(tuple(key.split(".")), value, f"--set {key}")
    for text in params:
        key, value = _pair(text, "-P", "hidden=128")
        draft.set(("params", key), value, f"-P {key}")


def _pair(text: str, option: str, example: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise SpecInvalid(f"{option} {text}: expected KEY=VALUE, such as {option} {example}.")
    return key.strip(), read_value(value.strip())


def wants_columns(draft: Draft) -> bool:
    """Whether the job is of the task that reads tables, and does not yet say what their columns are."""
    data = draft.fields.get("data", {})
    return draft.fields.get("task") == "table" and isinstance(data, dict) and "columns" not in data


def resolve_job(
    draft: Draft, job: str | None = None, task: TaskSource | None = None, name: str | None = None
) -> tuple[JobSpec, TaskSource]:
    """Check everything and fill in every default.

    Args:
        draft: from a file and options; not changed.
        job: the id; None for a fresh one.
        task: a stored one, used unless an option names another.
        name: what a fresh id starts with; None for the task's.

    Raises:
        SpecInvalid: with the place of the mistake, what is wrong, and the mend.
    """
    _check_keys(draft)
    try:
        if task is None or ("task",) in draft.said:
            task = find_task(str(draft.fields.get("task") or ""), draft.folder)
    except SpecInvalid as error:
        raise draft.mistake(("task",), str(error)) from None
    fields = _spec_fields(draft)
    fields["task"] = {"name": task.name, "file": task.file, "digest": task.digest}
    fields["job"] = job or new_id(name or task.name)
    fields["submitted"] = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        spec = make_spec(fields)
        check_strategy(spec)
    except SpecInvalid as error:
        raise _placed(draft, str(error)) from None
    return spec, task


def _check_keys(draft: Draft) -> None:
    if not draft.fields.get("task"):
        raise draft.mistake((), 'no task: write task = "mine.py", or the name of one that ships.')
    for key, value in draft.fields.items():
        if key not in TOP:
            raise draft.mistake((key,), f"no such key: {key}{_nearest_key(key)}")
        if key in (*SECTIONS, *FREE) and not isinstance(value, dict):
            raise draft.mistake((key,), f"{key} is a table: write [{key}] and its keys below.")
    for section, known in SECTIONS.items():
        for key in draft.fields.get(section, {}):
            if key not in known:
                raise draft.mistake((section, key), f"no such key in [{section}]: {key}{nearest(key, known)}")


def _nearest_key(key: str) -> str:
    for section, known in SECTIONS.items():
        if key in known:
            return f"; it belongs into [{section}]."
    ending = nearest(key, TOP)
    return ending if ending != "." else f". Known: {', '.join(TOP)}."


def _spec_fields(draft: Draft) -> dict[str, Any]:
    fields = {key: dict(value) if isinstance(value, dict) else value for key, value in draft.fields.items()}
    for path in ((), ("evaluate",)):
        _read_span(draft, fields, path)
    for name, own_keys in OPEN.items():
        if name in fields:
            fields[name] = _with_options(fields[name], own_keys)
    return fields


def _read_span(draft: Draft, fields: dict[str, Any], path: Path_) -> None:
    table = fields
    for part in path:
        table = table.get(part, {})
    for spec_name, name in _SPANS.items():
        if name not in table:
            continue
        value = table.pop(name)
        try:
            table[spec_name] = seconds(value)
        except ValueError as error:
            raise draft.mistake((*path, name), f"{'.'.join((*path, name))} {error}.") from None


def _with_options(table: Mapping[str, Any], own_keys: Collection[str]) -> dict[str, Any]:
    own = {key: value for key, value in table.items() if key in own_keys}
    rest = {key: value for key, value in table.items() if key not in own_keys}
    return {**own, "options": {**own.get("options", {}), **rest}} if rest else own


def _placed(draft: Draft, message: str) -> SpecInvalid:
    """The spec's error, with the place of the field that its first words name."""
    found = re.match(r"([A-Za-z_]+(?:\.[\w-]+)*)", message)
    path = tuple(found[1].split(".")) if found else ()
    path = tuple(_SPANS.get(part, part) for part in path if part != "options")
    for spec_name, name in _SPANS.items():
        message = message.replace(f"{spec_name}:", f"{name}:", 1)
    return draft.mistake(path if path and path[0] in TOP else (), message)


def new_id(task: str) -> str:
    """A fresh job id: the task's name and six letters or digits."""
    stem = re.sub(r"[^a-z0-9]+", "-", task.lower()).strip("-")[:50] or "job"
    alphabet = string.ascii_lowercase + string.digits
    return f"{stem}-{''.join(secrets.choice(alphabet) for _ in range(_ID_RANDOM))}"


def as_job_file(spec: JobSpec) -> str:
    """The resolved job in the job file's words, every default written out."""
    fields = spec.model_dump(exclude=_OURS)
    fields["task"] = f"{spec.task.file}" if not _ships(spec) else spec.task.name.replace("_", "-")
    fields.pop("clients" if spec.sites else "sites")
    for table in (fields, fields["evaluate"]):
        table["deadline"] = span(table.pop("deadline_seconds"))
    for name in OPEN:
        fields[name] |= fields[name].pop("options")
    return f"# {spec.job}, {spec.task.file} {spec.task.digest[:12]}\n{write_toml(fields)}"


def _ships(spec: JobSpec) -> bool:
    name = spec.task.name.replace("_", "-")
    return name in shipped_names() and find_task(name, Path()).digest == spec.task.digest


def span(value: float) -> str:
    """Seconds as a job file writes them: `90s`, `2m`, `1h30m`."""
    if value != int(value):
        return f"{value:g}s" if value >= 0.001 else f"{value * 1000:g}ms"
    whole = int(value)
    parts = ((whole // 3600, "h"), (whole % 3600 // 60, "m"), (whole % 60, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"
