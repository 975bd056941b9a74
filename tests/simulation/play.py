"""One run: the scene and the faults of a seed, real aggregators and trainers in it, and how it has to end."""

from __future__ import annotations

import atexit
import itertools
import logging
import random
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from simulation.begins import BEGINS
from simulation.beside import Beside
from simulation.checks import ENDS, Checks
from simulation.ending import check_end
from simulation.fake_broker import BrokerPort, Exchange
from simulation.fake_redis import LedgerPort, NewsPort, Streams
from simulation.fake_store import Objects, StorePort
from simulation.fake_work import FakeNumbers, FakeTraining
from simulation.faults import Faults, draw_faults, no_faults
from simulation.flow_checks import FlowChecks
from simulation.forger import Forger
from simulation.kernel import Kernel
from simulation.operator import Operator
from simulation.scene import TASK, Scene, crowded, draw_flow_scene, draw_scene
from simulation.watching import Watching
from simulation.world import World

from warren.aggregator import collecting, dead_letters, finding
from warren.aggregator.ports import House
from warren.aggregator.service import Crew
from warren.broker.messages import Submission, encode
from warren.broker.ports import Outgoing
from warren.broker.topology import SUBMISSIONS
from warren.storage import keys
from warren.storage.job import write_spec
from warren.trainer.bundle import Pace
from warren.trainer.worker import Worker

CALM_SECONDS_MAX = 400.0  # after the storm: long enough for every deadline, extension and listing
SETTLE_SECONDS = 6.0  # after the last job ended: what is off the rounds' path comes to its end
LOOK_SECONDS = 1.0
RESTART_SECONDS = (0.3, 12.0)

# Idle loops turn more slowly than in production: fewer steps, the same order of things.
finding.TAKE_SECONDS = 4.0
finding.LIST_SECONDS = 20.0
dead_letters.TAKE_SECONDS = 5.0
collecting.WAIT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a run."""

    seed: int
    violation: str | None
    kinds: tuple[str, ...]  # the faults that were on
    trace: tuple[str, ...]
    steps: int
    seconds: float  # simulated
    ends: tuple[str, ...]  # the last command of each job
    finals: tuple[bytes | None, ...]


QUICK_EVERY = 3  # one seed in so many has very short works, many of them a trainer


def play(
    seed: int, *, without: Collection[str] = (), trace: bool = False, disturbed: bool = True, flows: bool = False
) -> Played:
    """Run a seed to its end. The same seed gives the same steps in every process, on every machine."""
    random.seed(seed)  # the jitter of retries
    scene = scene_of(seed, flows=flows)
    faults = draw_faults(random.Random(2 * seed + 1), without) if disturbed else no_faults()
    stage = Stage(seed, scene, faults, trace)
    with _log_heard_by(stage.kernel):
        stage.run()
    kernel, checks = stage.kernel, stage.checks
    return Played(
        seed=seed,
        violation=kernel.violation,
        kinds=faults.on,
        trace=tuple(kernel.trace or ()),
        steps=kernel.steps,
        seconds=kernel.now,
        ends=tuple(checks.status(spec.job)[0] for spec in scene.specs),
        finals=tuple(stage.objects.bodies.get(keys.derived(spec.job, "final.safetensors")) for spec in scene.specs),
    )


def scene_of(seed: int, *, flows: bool = False) -> Scene:
    """The scene of a seed; `flows`: with asynchronous jobs."""
    scene = (draw_flow_scene if flows else draw_scene)(random.Random(2 * seed))
    return scene if flows or seed % QUICK_EVERY else crowded(scene)


class Stage:
    """Builds the world of one run, starts its processes, and starts them again when they die."""

    def __init__(self, seed: int, scene: Scene, faults: Faults, trace: bool) -> None:
        self.scene = scene
        self.faults = faults
        self.held: list[tuple[str, float]] = []  # what was unsettled at the end
        self.kernel = Kernel(seed, trace=trace)
        self.chance = random.Random(seed ^ 0x5EED)
        self.world = World(self.kernel, faults, {spec.job: spec for spec in scene.specs}, self.chance)
        self.objects = Objects(self.world)
        self.exchange = Exchange(self.world)
        self.streams = Streams(self.world)
        flows = any(spec.schedule.asynchronous for spec in scene.specs)
        self.checks = (FlowChecks if flows else Checks)(self.world, self.objects)
        self.watching = Watching(self.world, self.checks)
        self._quick = seed % QUICK_EVERY == 0
        self._attempts = random.Random(seed ^ 0xA77E)
        self._lives = itertools.count()
        clients = sorted({client for spec in scene.specs for client in spec.client_names})
        self._poisoned = frozenset(c for c in clients if self.chance.random() < faults.rates["poison"])
        self._storm_seconds = faults.storm_seconds
        self.operator = Operator(self, faults)
        self.forger = Forger(self)

    def run(self) -> None:
        self.kernel.note(f"faults: {' '.join(k for k, rate in self.world.rates.items() if rate)}")
        self._submit()
        for number in range(self.scene.aggregators):
            self._start_aggregator(number)
        for number in range(len(self.scene.trainers)):
            self._start_trainer(number)
        self.operator.plan(self._storm_seconds)
        self.kernel.at(self._storm_seconds, self._calm)
        self.kernel.at(LOOK_SECONDS, self._look)
        self.kernel.run()
        if self.kernel.violation is None:
            check_end(self)

    def attempt(self) -> str:
        return f"{self._attempts.getrandbits(48):012x}"

    def _submit(self) -> None:
        for spec in self.scene.specs:
            self.kernel.note(f"job {spec.model_dump_json(exclude_defaults=True)}")
            self.objects.put(keys.task(spec.job, spec.task.file), TASK)
            self.objects.put(keys.spec(spec.job), write_spec(spec))
            self.exchange.queues.setdefault(SUBMISSIONS, self.exchange.new_queue())
            self.exchange.arrive(Outgoing(SUBMISSIONS, encode(Submission(job=spec.job)), {}))

    def _start_aggregator(self, number: int) -> None:
        process = self.kernel.process(f"agg{number}")
        store = StorePort(self.objects, process)
        life = next(self._lives)
        nonce = f"n{number}-{life}"
        house = House(
            store,
            BrokerPort(self.exchange, process),
            NewsPort(self.streams, process),
            LedgerPort(self.world, process),
            FakeNumbers(store),
            process.name,
            nonce,
            lambda: "",
            _draw_nothing,
            begin=BEGINS[life % len(BEGINS)],
        )

        def spawn(name: str, work: object) -> None:
            self.kernel.spawn(process, name, work)  # type: ignore[arg-type]

        crew = Crew(house, self.scene.lease_seconds, process.stop, spawn)
        self.kernel.spawn(process, "finds", crew.work)
        process.on_end.append(lambda: self._again(lambda: self._start_aggregator(number)))

    def _start_trainer(self, number: int) -> None:
        process = self.kernel.process(f"trainer{number}")
        worker = Worker(
            StorePort(self.objects, process),
            BrokerPort(self.exchange, process),
            NewsPort(self.streams, process),
            LedgerPort(self.world, process),
            FakeTraining(self.world, process, self._poisoned, self._quick),
            name=process.name,
            source=self.scene.trainers[number],
            tasks_dir=_tasks_folder(),
            accept_code=False,
            cache=_folder() / process.name,
            clock=lambda: self.kernel.now,
            attempt=self.attempt,
            beside=Beside(self.kernel, process),
            pace=Pace(remembered=1) if self._quick else None,
        )
        self.kernel.spawn(process, "works", lambda: worker.run(process.stop))
        process.on_end.append(lambda: self._again(lambda: self._start_trainer(number)))

    def _again(self, start: object) -> None:
        least, most = RESTART_SECONDS
        wait = least if not self.world.storm else self.chance.uniform(least, most)
        self.kernel.at(self.kernel.now + wait, start)  # type: ignore[arg-type]

    def _calm(self) -> None:
        self.world.calm()
        self.operator.mend()

    def _look(self) -> None:
        """Every second: is it over?"""
        now = self.kernel.now
        self.operator.look()
        self.forger.forge()
        if self._over():
            self.kernel.at(now + SETTLE_SECONDS, self._finish)
        elif now > self._storm_seconds + CALM_SECONDS_MAX:
            states = ", ".join(f"{job}: {self.checks.status(job)}" for job in self.world.specs)
            self.kernel.fail(f"no end {CALM_SECONDS_MAX:.0f} s after the last fault; {states}")
        else:
            self.kernel.at(now + LOOK_SECONDS, self._look)

    def _over(self) -> bool:
        ended = [self.checks.status(job)[0] in ENDS for job in self.world.specs]
        return all(ended) or (
            self.operator.gave_up
            and all(
                over or self.checks.status(job)[0] == "pause" for over, job in zip(ended, self.world.specs, strict=True)
            )
        )

    def _finish(self) -> None:
        self.held = self.exchange.held()
        self.kernel.finished = True


class _Ear(logging.Handler):
    """Hears of exceptions that the house caught because it did not expect them."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(logging.ERROR)
        self._kernel = kernel

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and self._kernel.current is not None:
            self._kernel.broke_off(self._kernel.current.name, record.exc_info[1])


@contextmanager
def _log_heard_by(kernel: Kernel) -> Iterator[None]:
    logger, ear = logging.getLogger("warren"), _Ear(kernel)
    logging.disable(logging.WARNING)
    logger.addHandler(ear)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.removeHandler(ear)
        logger.propagate = propagate
        logging.disable(logging.NOTSET)


@cache
def _folder() -> Path:
    """Where the trainers of this process keep their files: one after the other, runs share it."""
    memory = Path("/dev/shm")  # a few files a round: in memory where there is such a place
    folder = tempfile.mkdtemp(prefix="warren-simulation-", dir=memory if memory.is_dir() else None)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _draw_nothing(spec: object, manifests: Iterable[object], evaluations: object) -> dict[str, tuple[bytes, str]]:
    all(manifests)  # read as they would be
    return {}


@cache
def _tasks_folder() -> Path:
    folder = _folder() / "installed"
    folder.mkdir()
    (folder / "task.py").write_bytes(TASK)
    return folder
