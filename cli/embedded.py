"""All of Warren in one process tree: broker and news in memory, the ledger on fakeredis, the store as a folder."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType

import fakeredis

from ..aggregator.drawing import draw
from ..aggregator.service import Aggregator
from ..broker.memory import MemoryBroker
from ..broker.memory_news import MemoryNews
from ..storage.folder import FolderStore
from ..storage.job import JobSpec
from ..storage.ledger import RedisLedger
from ..trainer.ports import Training
from ..trainer.process import TrainingProcess
from ..trainer.worker import Worker
from .one_job_store import OneJobStore
from .shared_training import SharedTraining

STOP_SECONDS = 5.0  # for the services to end after the training processes are gone
FINISH_SECONDS = 60.0  # for an aggregator that lays out a job's results


class Embedded:
    """An aggregator and trainers that lead one job, as threads over one folder; each trains in its own process.

    A context: entering starts everything, leaving stops it. What is committed is on the disk.
    """

    def __init__(self, root: Path, spec: JobSpec, *, trainers: int, device: str, data_dir: Path | None) -> None:
        """Prepare.

        Args:
            root: the folder of the store.
            spec: the job, which is in the store already.
            trainers: training processes.
            device: of each.
            data_dir: given to the task.
        """
        self.store = FolderStore(root)
        self._root = root
        self._spec = spec
        self._server = fakeredis.FakeServer()
        self.ledger = RedisLedger(self._redis())
        self._broker = MemoryBroker()
        self._news = MemoryNews()
        self._stop = threading.Event()
        self._processes = [TrainingProcess(device, data_dir) for _ in range(trainers)]
        self._shared = SharedTraining(self._processes) if spec.sites else None
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        self._scratch = tempfile.TemporaryDirectory(prefix=".run-", dir=root, ignore_cleanup_errors=True)

    def __enter__(self) -> Embedded:
        self._start("aggregator", self._aggregate)
        if self._shared is None:
            for number, process in enumerate(self._processes):
                self._start(f"t{number + 1}", partial(self._work_alone, f"t{number + 1}", process))
            return self
        for process in self._processes:
            self._start("warm-up", partial(self._shared.warm_up, process))
        for source in self._spec.sources:
            site = source.partition(".")[2]
            self._start(site, partial(self._work, site, source, self._shared))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        finished = error is None and not self._failures
        self._stop.set()
        for process in self._processes:
            process.close()
        self._broker.close()  # wakes whoever waits for a delivery
        until = time.monotonic() + (FINISH_SECONDS if finished else STOP_SECONDS)
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._scratch.cleanup()
        self.store.close()

    def check(self) -> None:
        """Raise what ended one of the services, if anything did."""
        if self._failures:
            raise self._failures[0]

    def _redis(self) -> fakeredis.FakeRedis:
        return fakeredis.FakeRedis(server=self._server)

    def _start(self, name: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._guarded, args=(work,), name=f"warren-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            if not self._stop.is_set():
                self._failures.append(error)

    def _folder(self, name: str) -> Path:
        folder = Path(self._scratch.name) / name
        folder.mkdir()
        return folder

    def _aggregate(self) -> None:
        Aggregator(
            OneJobStore(self.store, self._spec.job),
            self._broker,
            self._news,
            RedisLedger(self._redis()),
            name="embedded",
            scratch=self._folder("aggregator"),
            tracking=self._root / "tracking",
            draw=draw,  # here: nobody waits for this process's lock any more
        ).run(self._stop)

    def _work_alone(self, name: str, process: TrainingProcess) -> None:
        process.facts()  # the slow import of torch, before anything is taken
        self._work(name, self._spec.sources[0], process)

    def _work(self, name: str, source: str, training: Training) -> None:
        Worker(
            self.store,
            self._broker,
            self._news,
            RedisLedger(self._redis()),
            training,
            name=name,
            source=source,
            tasks_dir=None,
            accept_code=True,
            cache=self._folder(f"trainer-{name}"),
            personal=self._root / "personal",  # what would stay at each site; a run that is resumed finds it
        ).run(self._stop)


@contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """Write the services' log to a file: the terminal belongs to the display."""
    from .log import TextLines

    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(TextLines())
    ours = logging.getLogger("warren")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.propagate = True
        handler.close()
