"""What a shell offers at TAB: ids of jobs, job files, contexts. Quick or nothing, and never a word of trouble.

The shell waits while this runs, so what takes longer than `SECONDS` is not offered, nor what fails: no server, no
credentials, no such folder. A password manager that the context names is not started for it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

from click import Context
from click.shell_completion import CompletionItem

SECONDS = 2.0
LISTED_MAX = 10_000  # jobs that are looked through
OFFERED_MAX = 200
LAST = "@last"

Offers = list[CompletionItem]
_T = TypeVar("_T")


def jobs(ctx: Context, incomplete: str) -> Offers:
    """Ids of the jobs in the store that the line names, and `@last`."""
    found = _in_time(lambda: _ids(ctx, incomplete))
    return _offers([*found, *([LAST] if LAST.startswith(incomplete) else [])])


def models(ctx: Context, incomplete: str) -> Offers:
    """Which model of a job; a round's number is for people to say."""
    return _offers(word for word in ("final", "best", "last") if word.startswith(incomplete))


def job_or_task(ctx: Context, incomplete: str) -> Offers:
    """Job and task files in this folder, and tasks that ship; where the word is none of them, the shell's own files."""
    found = _in_time(lambda: [] if "/" in incomplete else [*_files(incomplete), *_shipped(incomplete)])
    return _offers(found) or [CompletionItem(incomplete, type="file")]


def contexts(ctx: Context, incomplete: str) -> Offers:
    """The names in the context file."""
    return _offers(_in_time(lambda: [name for name in sorted(_contexts()) if name.startswith(incomplete)]))


def _in_time(work: Callable[[], list[_T]]) -> list[_T]:
    """What it gives within `SECONDS`; nothing where it takes longer or fails."""
    logging.disable(logging.CRITICAL)  # what retries, says so on the terminal
    given: list[_T] = []

    def guarded() -> None:
        try:
            given.extend(work())
        except Exception:  # whatever it is: a TAB is no place for it
            given.clear()

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return [] if thread.is_alive() else given


def _offers(words: Iterable[str]) -> Offers:
    return [CompletionItem(word) for word in islice(words, OFFERED_MAX)]


def _ids(ctx: Context, incomplete: str) -> list[str]:
    listed = islice(_listed(ctx), LISTED_MAX)
    return sorted(job for job in listed if job.startswith(incomplete))


def _listed(ctx: Context) -> Iterator[str]:
    folder = _folder(ctx)
    if folder is not None:
        from ..storage.folder import FolderStore

        return FolderStore(folder).folders("jobs/") if folder.is_dir() else iter(())
    from ..storage.s3 import S3Store
    from .context import DEFAULTS, resolve
    from .store_address import store_address

    given = {name: ctx.params.get(name) for name in ("context", *DEFAULTS)}
    return S3Store(store_address(resolve(given, run_commands=False))).folders("jobs/")


def _folder(ctx: Context) -> Path | None:
    """The folder that the line means, as the command would: `warren run` has one where nobody names it."""
    if ctx.params.get("store") is not None:
        return Path(ctx.params["store"])
    if ctx.info_name == "run":
        return Path(os.environ.get("WARREN_STORE") or "runs")
    return None


def _contexts() -> dict[str, object]:
    from .context import contexts_path, read_contexts

    return dict(read_contexts(contexts_path())["contexts"])


def _shipped(incomplete: str) -> list[str]:
    from ..trainer.task import shipped_names

    return [name for name in shipped_names() if name.startswith(incomplete)]


def _files(incomplete: str) -> list[str]:
    here = (entry.name for entry in Path().iterdir() if entry.suffix in (".toml", ".py"))
    return sorted(name for name in here if name.startswith(incomplete))
