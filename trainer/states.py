"""What clients keep from one update that counts to the next: in the store, or on a site's own disk."""

from __future__ import annotations

import logging
import os
import re
import shutil
from pathlib import Path

from ..broker.messages import RoundJob
from ..storage import keys
from ..storage.digests import has_digest
from ..storage.disk_errors import disk_answers
from ..storage.errors import ObjectDamaged, ObjectMissing
from ..storage.job import JobSpec
from ..storage.objects import ObjectStore
from ..storage.rules import kept_at_site
from .checkpoints import Checkpoints

OLDER_KEPT = 2  # personal states before the one in force: evaluations of the last rounds ask for them

log = logging.getLogger("warren.trainer")

_FILE = re.compile(r"(\d{5})\.[a-z0-9-]{1,63}\.safetensors\Z")


class States:
    """Fetches what a round job names, and keeps what came of its work: create-once, before the update is stored."""

    def __init__(self, store: ObjectStore, cache: Path, personal: Path) -> None:
        """Fetch into `cache`. `personal` is the site's, for all its trainers; it is made when it is needed."""
        self._store = store
        self._fetched = Checkpoints(store, cache / "states")
        self._servers = Checkpoints(store, cache / "servers")
        self._personal = personal

    def path(self, job: RoundJob, spec: JobSpec) -> Path | None:
        """What the client kept; None where it kept nothing yet, or a site has lost it.

        Raises:
            ObjectMissing, ObjectDamaged: it is not there, or not what was meant.
        """
        if job.state is None or job.state_digest is None:
            return None
        if kept_at_site(spec):
            return self._at_site(job)
        return self._fetched.named(job.state, job.state_digest, job.state_bytes)

    def server(self, job: RoundJob) -> Path | None:
        """What the strategy keeps beside the checkpoint; None where nothing is named. Raises as `path`."""
        return self._servers.named(job.server, job.server_digest, job.server_bytes)

    def keep(self, job: RoundJob, spec: JobSpec, attempt: str, path: Path) -> None:
        """Keep a new state under the attempt that made it: it takes effect only if its update counts."""
        if not kept_at_site(spec):
            self._store.create(keys.client_state(job.job, job.client, job.round, attempt), path, given=True)
            return
        at = self._folder(job) / f"{job.round:05}.{attempt}.safetensors"
        with disk_answers(self._personal):
            at.parent.mkdir(parents=True, exist_ok=True)
            waiting = at.with_name(f".{at.name}")
            shutil.copyfile(path, waiting)
            with waiting.open("rb") as file:
                os.fsync(file.fileno())
            waiting.replace(at)

    def _at_site(self, job: RoundJob) -> Path | None:
        name = keys.read_client_state(job.state or "")
        if name is None or name.client != job.client:
            raise ObjectDamaged(f"the round job names {str(job.state)[:200]!r}, which is no state of {job.client}")
        at = self._folder(job) / f"{name.round:05}.{name.attempt}.safetensors"
        try:
            whole = has_digest(at, job.state_digest or "")
        except ObjectMissing:
            whole = False
        if not whole:
            log.warning("%s is gone or changed: this site starts over from the model", at, extra={"job": job.job})
            return None
        self._collect(at)
        return at

    def _collect(self, in_force: Path) -> None:
        """What is much older than the state in force goes, and halves that a trainer's death left."""
        with disk_answers(self._personal):
            files = sorted(path for path in in_force.parent.iterdir() if _FILE.match(path.name))
            older = [path for path in files if path.name[:5] < in_force.name[:5]]
            halves = [path for path in in_force.parent.glob(".*") if path.name[1:6] < in_force.name[:5]]
            for path in (*older[:-OLDER_KEPT], *halves):
                path.unlink(missing_ok=True)

    def _folder(self, job: RoundJob) -> Path:
        return self._personal / job.job / job.client
