"""Real servers and real processes under one roof: started, hurt and watched by tests and by the chaos soak."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from servers.rabbit import RabbitServer
from servers.redis_server import RedisServer
from servers.s3_server import ACCESS_KEY, SECRET_KEY, MinioServer, SeaweedServer, bucket_name
from services.member import WARREN, Kind, Member, environment
from services.watch import Watch

from warren.aggregator.record import Record
from warren.broker import completions
from warren.broker.errors import BrokerError
from warren.storage import ledger
from warren.storage.errors import StorageError
from warren.storage.ledger import RedisLedger
from warren.storage.s3 import S3Address, S3Store

COMMAND_SECONDS = 60.0
READY_SECONDS = 90.0  # of a service: it imports torch, and eight test runs may share two cores
LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Servers:
    """Servers that may be killed."""

    rabbit: RabbitServer
    redis: RedisServer
    s3: MinioServer | SeaweedServer

    def ensure(self) -> None:
        for server in (self.rabbit, self.redis, self.s3):
            server.ensure()


class Fleet:
    """Aggregators and trainers on a virtual host, a bucket and a Redis of their own. A context manager."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        servers.ensure()
        servers.redis.empty()
        self.servers = servers
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.members: list[Member] = []
        self.url = servers.rabbit.fresh_url()
        bucket = bucket_name()
        self.environment = environment(
            self.url, servers.redis.url, servers.s3.url, bucket, ACCESS_KEY, SECRET_KEY, folder
        )
        self.store = S3Store(S3Address(servers.s3.url, ACCESS_KEY, SECRET_KEY, bucket))
        self.ledger = RedisLedger(ledger.connect(servers.redis.url))
        self.news = completions.News(completions.connect(servers.redis.url))
        self.redis = redis.Redis.from_url(servers.redis.url)
        self.warren("setup")

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for member in self.members:
            member.close()
        self.store.close()
        if self.servers.rabbit.running:
            self.servers.rabbit.forget_url(self.url)

    def add(self, kind: Kind, name: str, *options: str, start: bool = True) -> Member:
        """A new member, started and ready."""
        given = (*options, "--accept-code", "--device", "cpu") if kind == "trainer" else options
        member = Member(kind, name, self.folder / name, self.environment, given)
        self.members.append(member)
        if start:
            self.start(member)
        return member

    def start(self, *members: Member) -> None:
        """Start them, all at a time, and wait until they are there."""
        for member in members:
            member.start()
        for member in members:
            self.until(lambda member=member: self.present(member), f"{member.id} is ready", READY_SECONDS)  # type: ignore[misc]

    def present(self, member: Member) -> bool:
        assert member.alive, f"{member.id} ended\n{member.log_tail()}"
        return any(one.id.rpartition(".")[2] == member.id for one in self.ledger.presences(member.kind))

    def warren(self, *words: str, code: int = 0) -> str:
        """Run a command to its end; what it printed."""
        done = subprocess.run(
            [str(WARREN), *words],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert done.returncode == code, f"warren {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def submit(self, job_file: Path) -> str:
        return self.warren("submit", str(job_file)).strip()

    def watch(self, job: str) -> Watch:
        return Watch(self.store, job)

    def command(self, job: str) -> str:
        """The job's command in force: run, pause, cancel, fail or done."""
        return Record(self.store, job).control().command

    def reason(self, job: str) -> str:
        return Record(self.store, job).control().reason

    def progress(self, job: str) -> dict[str, Any]:
        found: dict[str, Any] = dict(self.ledger.progress(job))
        found["clients"] = json.loads(found.get("clients") or "{}")
        return found

    def until(self, condition: Callable[[], bool], what: str, seconds: float = 60.0) -> float:
        """Ask until it holds; how long that took. A server that is away just now is asked again."""
        start = time.monotonic()
        trouble = ""
        while time.monotonic() - start < seconds:
            try:
                if condition():
                    return time.monotonic() - start
                trouble = ""
            except (StorageError, BrokerError, redis.RedisError) as error:
                trouble = f" (the last try: {error})"
            time.sleep(LOOK_SECONDS)
        raise AssertionError(f"not after {seconds:g} s: {what}{trouble}\n{self.log_tails()}")

    def finished(self, job: str, seconds: float = 120.0, watch: Watch | None = None) -> float:
        """Wait until the job is done, looking at what must hold all the while."""

        def done() -> bool:
            if watch is not None:
                watch.look()
            command = self.command(job)
            assert command in ("run", "done"), f"the job came to {command}: {self.reason(job)}\n{self.log_tails()}"
            return command == "done"

        return self.until(done, f"{job} is done", seconds)

    def committed(self, job: str, number: int, seconds: float = 90.0) -> float:
        """Wait until a round has its checkpoint."""
        return self.until(lambda: Record(self.store, job).committed(number), f"round {number} of {job}", seconds)

    def log_tails(self) -> str:
        return "\n".join(member.log_tail() for member in self.members)
