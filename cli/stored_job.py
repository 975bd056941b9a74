"""A job of the store as the beginning of another: its settings as a draft, its task's source checked."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

from ..storage import keys
from ..storage.errors import ObjectDamaged
from ..storage.job import JobSpec
from ..storage.objects import ObjectStore
from ..trainer.task import SOURCE_BYTES_MAX
from .jobfile import Draft, as_job_file
from .task_source import TaskSource


def draft_of(spec: JobSpec) -> Draft:
    """The job's settings as a job file has them, every default written out; options go on top of them."""
    return Draft(tomllib.loads(as_job_file(spec)), Path(), spec.job)


def task_of(store: ObjectStore, spec: JobSpec) -> TaskSource:
    """The source that was stored with the job.

    Raises:
        ObjectMissing, ObjectDamaged: it is not there, or not the one that the job names.
    """
    key = keys.task(spec.job, spec.task.file)
    body = store.read(key, limit=SOURCE_BYTES_MAX)
    if hashlib.sha256(body).hexdigest() != spec.task.digest:
        raise ObjectDamaged(f"{key} is not the source that the job names ({spec.task.digest[:12]})")
    return TaskSource(spec.task.name, spec.task.file, body)
