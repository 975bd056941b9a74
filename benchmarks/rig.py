"""Real servers and real `warren` processes for a benchmark, on this machine, and ended with it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from minio import Minio

from warren.aggregator.record import Record
from warren.broker import completions
from warren.broker.completions import News
from warren.broker.rabbit import RabbitBroker
from warren.broker.topology import SUBMISSIONS
from warren.cli.submission import resolve_words, store_job, tell
from warren.cli.toml_text import write_toml
from warren.storage import keys, ledger
from warren.storage.documents import Control
from warren.storage.ledger import RedisLedger
from warren.storage.s3 import S3Address, S3Store

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from servers.find import MINIO, RABBITMQ, REDIS, Found, Service, find_own
from servers.guard import Guard
from servers.process import Server
from servers.rabbit import RabbitServer
from servers.redis_server import RedisServer
from servers.s3_server import ACCESS_KEY, SECRET_KEY, MinioServer

WARREN = Path(sys.executable).with_name("warren")
BUCKET = "warren"
READY_SECONDS = 120.0
LOOK_SECONDS = 0.1
MIB = 1 << 20


def wait_for(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Ask until it holds. Raises TimeoutError."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"not after {seconds:g} s: {what}")
        time.sleep(LOOK_SECONDS)


@dataclass(slots=True)
class Serving:
    """One `warren aggregator start` or `warren trainer start`."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    guard: Guard  # ends it when this benchmark is killed

    def family(self) -> list[psutil.Process]:
        leader = psutil.Process(self.process.pid)
        return [leader, *leader.children(recursive=True)]

    def close(self) -> None:
        family = self.family() if self.process.poll() is None else []
        self.guard.dismiss()
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@dataclass(slots=True)
class Rig:
    """Started servers, and the services on them. Made by `rig`."""

    folder: Path
    rabbit: RabbitServer
    redis: RedisServer
    minio: MinioServer
    store: S3Store
    broker: RabbitBroker
    ledger: RedisLedger
    news: News
    client: Minio
    services: list[Serving] = field(default_factory=list)

    def start(self, kind: str, name: str, *options: str) -> Serving:
        """Start a service; `ready` waits for all of them."""
        log = self.folder / f"{name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                [str(WARREN), kind, "start", "--name", name, *options],
                env=self.environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        service = Serving(name, process, log, Guard(process.pid))
        self.services.append(service)
        return service

    def ready(self) -> None:
        """Return when every service has said that it is there."""

        def there() -> bool:
            for service in self.services:
                if service.process.poll() is not None:
                    raise RuntimeError(f"{service.name} ended:\n{service.log.read_text()[-2000:]}")
            present = {p.id for kind in ("aggregator", "trainer") for p in self.ledger.presences(kind)}
            return present >= {service.name for service in self.services}

        wait_for(there, "the services are there", READY_SECONDS)

    def empty_trash(self) -> None:
        """Let what was deleted go from the disk: MinIO keeps it for five minutes, large rounds many times over."""
        for gone in (self.minio.data / ".minio.sys" / "tmp" / ".trash").glob("*"):
            shutil.rmtree(gone, ignore_errors=True)  # it may be MinIO that was first

    def submit(self, job: Mapping[str, Any]) -> str:
        """Submit a job file with these fields; the job's id."""
        path = write_job(self.folder / "job.toml", job)
        spec, task = resolve_words(str(path), (), ())
        store_job(self.store, spec, task)
        tell(self.broker, spec.job)
        return spec.job

    def cancel(self, job: str) -> None:
        Record(self.store, job).command(Control(command="cancel", reason="benchmark", by="benchmark"))
        self.news.nudge(job)

    def finish(self, job: str, seconds: float) -> None:
        """Wait until the job is done; paused, failed or late raises."""

        def done() -> bool:
            control = Record(self.store, job).control()
            if control.command not in ("run", "done"):
                raise RuntimeError(f"{job}: {control.command}: {control.reason}")
            return control.command == "done"

        wait_for(done, f"{job} is done", seconds)

    def frozen_at(self, job: str) -> list[float]:
        """When the manifest of each round was made, in seconds by MinIO's clock (to the millisecond)."""
        found = self.client.list_objects(bucket_name=BUCKET, prefix=keys.manifests(job))
        return [entry.last_modified.timestamp() for entry in found if entry.last_modified is not None]

    def drop(self, job: str) -> None:
        """Delete all that a job left, so that the next finds as much room."""
        for prefix in (keys.job_prefix(job), keys.updates(job)):
            for info in list(self.store.list(prefix)):
                self.store.delete(info.key)

    def close(self) -> None:
        for service in self.services:
            service.close()
        self.broker.close()
        self.store.close()

    def environment(self) -> dict[str, str]:
        outside = {name: value for name, value in os.environ.items() if not name.startswith("WARREN_")}
        return outside | {
            "WARREN_AMQP": self.rabbit.url,
            "WARREN_REDIS": self.redis.url,
            "WARREN_S3": self.minio.url,
            "WARREN_S3_BUCKET": BUCKET,
            "WARREN_S3_ACCESS_KEY": ACCESS_KEY,
            "WARREN_S3_SECRET_KEY": SECRET_KEY,
            "WARREN_CONFIG": str(self.folder / "contexts.toml"),
            "XDG_STATE_HOME": str(self.folder / "state"),
        }

    def forget_peaks(self) -> None:
        for service in self.services:
            for process in service.family():
                Path(f"/proc/{process.pid}/clear_refs").write_text("5")

    def peaks(self) -> dict[str, dict[str, float]]:
        """MiB at the peak since `forget_peaks`, of each service's process and of its largest child."""
        found = {}
        for service in self.services:
            leader, *children = service.family()
            found[service.name] = {"process": peak_mib(leader.pid)}
            if children:
                found[service.name]["training"] = max(peak_mib(child.pid) for child in children)
        return found


def peak_mib(pid: int) -> float:
    """The peak of a process's resident memory, mapped files included, in MiB."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def wire_bytes() -> int:
    """Bytes that the loopback has carried, of every process: each once, with headers and acknowledgements."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, counts = line.partition(":")
        if name.strip() == "lo":
            return int(counts.split()[0])
    return 0


def write_job(path: Path, job: Mapping[str, Any]) -> Path:
    path.write_text(write_toml(dict(job)))
    return path


def end_in_order() -> None:
    """A SIGTERM ends a benchmark as Ctrl-C does: servers and services go with it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextlib.contextmanager
def rig(*, trainers: int, data_dir: Path | None = None, scratch: Path | None = None) -> Iterator[Rig]:
    """RabbitMQ, Redis and MinIO of our own, one aggregator, and trainers of the pool `default`.

    With `scratch`, the services keep what is on its way in a folder below it.
    Redis syncs each write and MinIO stores on one drive: the settings of the tests.
    """
    end_in_order()
    with contextlib.ExitStack() as stack:
        folder, below = (_temporary(stack, place) for place in (None, scratch))
        servers = (
            RabbitServer(_own(RABBITMQ), folder / "rabbitmq"),
            RedisServer(_own(REDIS), folder / "redis"),
            MinioServer(_own(MINIO), folder / "minio"),
        )
        _start(stack, servers)
        made = _connected(folder, *servers)
        stack.callback(made.close)
        made.start("aggregator", "aggregator", "--scratch", str(below / "aggregator"))
        options = ["--accept-code", "--device", "cpu"]
        options += ["--data-dir", str(data_dir)] if data_dir is not None else []
        for name in (f"trainer-{number + 1}" for number in range(trainers)):
            made.start("trainer", name, *options, "--cache", str(below / name))
        made.ready()
        yield made


def _temporary(stack: contextlib.ExitStack, place: Path | None) -> Path:
    made = tempfile.TemporaryDirectory(prefix="warren-bench-", dir=place, ignore_cleanup_errors=True)
    return Path(stack.enter_context(made))


def _start(stack: contextlib.ExitStack, servers: Sequence[Server]) -> None:
    for server in servers:
        stack.callback(server.close)  # type: ignore[attr-defined]
    with ThreadPoolExecutor(len(servers)) as pool:
        for started in [pool.submit(server.start) for server in servers]:
            started.result()


def _connected(folder: Path, rabbit: RabbitServer, redis: RedisServer, minio: MinioServer) -> Rig:
    store = S3Store(S3Address(minio.url, ACCESS_KEY, SECRET_KEY, BUCKET))
    store.make_bucket()
    broker = RabbitBroker(rabbit.url, name="benchmark")
    broker.declare([SUBMISSIONS])
    client = Minio(minio.url.removeprefix("http://"), access_key=ACCESS_KEY, secret_key=SECRET_KEY, secure=False)
    news = News(completions.connect(redis.url))
    return Rig(folder, rabbit, redis, minio, store, broker, RedisLedger(ledger.connect(redis.url)), news, client)


def _own(service: Service) -> Found:
    found = find_own(service)
    if found is None:
        raise SystemExit(f"no {service.name}: {service.remedy}")
    return found
