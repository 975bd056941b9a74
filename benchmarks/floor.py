"""The floor of a round: the same bytes through the same MinIO and Redis, folded in place, and nothing else.

Two trainers, one aggregator, each a process: presigned requests on kept connections, bodies sent from and read into
memory that is reused; a Redis list tells who may go on. No files, digests, checks, conditions, broker or manifest.
"""

from __future__ import annotations

import http.client
import itertools
import multiprocessing
import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

import redis
from minio import Minio
from minio.deleteobjects import DeleteObject
from rig import BUCKET, Rig, peak_mib, wire_bytes

PREFIX = "floor/"
GO = "floor:go:"
DONE = "floor:done"
WAIT_SECONDS = 240
COURSE_SECONDS = 300
READERS = 2


@dataclass(frozen=True, slots=True)
class Course:
    """One measurement: sizes, and every address, signed beforehand."""

    host: str  # host:port of MinIO
    redis: str
    size: int
    dtype: str
    clients: int
    rounds: int
    put: dict[str, str]
    get: dict[str, str]


class Wire:
    """One kept connection to MinIO."""

    def __init__(self, host: str) -> None:
        self._connection = http.client.HTTPConnection(host, timeout=WAIT_SECONDS)

    def put(self, path: str, body: memoryview) -> None:
        answer = self._asked("PUT", path, body)
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"PUT: {answer.status}")

    def get(self, path: str, into: memoryview) -> None:
        answer = self._asked("GET", path, None)
        done = 0
        while done < len(into) and (count := answer.readinto(into[done:])):
            done += count
        answer.read()
        if answer.status != 200 or done != len(into):
            raise RuntimeError(f"GET: {answer.status}, {done} bytes")

    def _asked(self, method: str, path: str, body: memoryview | None) -> http.client.HTTPResponse:
        headers = {} if body is None else {"content-length": str(len(body))}
        try:
            self._connection.request(method, path, body, headers)
            return self._connection.getresponse()
        except (ConnectionError, http.client.HTTPException):  # MinIO closes what was idle for half a minute
            self._connection.close()
            self._connection.request(method, path, body, headers)
            return self._connection.getresponse()


def train(course: Course, place: int, trainers: int, ready: Connection) -> None:
    """A trainer's process: the checkpoint in, its share of the updates out."""
    news, wire = redis.Redis.from_url(course.redis, socket_timeout=None), Wire(course.host)
    weights = memoryview(bytearray(course.size))
    ready.send("ready")
    for number in range(1, course.rounds + 1):
        _news(news, f"{GO}{place}")
        wire.get(course.get[f"{number - 1}"], weights)
        for client in range(place, course.clients, trainers):
            wire.put(course.put[f"{number}.{client}"], weights)
            news.rpush(DONE, client)
    ready.send(peak_mib(multiprocessing.current_process().pid or 0))


def _news(news: Any, key: str) -> int:
    """The next number of a list."""
    found = news.blpop([key], WAIT_SECONDS)
    if found is None:
        raise TimeoutError(f"nothing in {key} for {WAIT_SECONDS} s")
    return int(found[1])


def aggregate(course: Course, trainers: int, ready: Connection) -> None:
    """The aggregator's process: updates in as they come, the sum in place, the checkpoint out."""
    import torch

    torch.set_num_threads(1)
    dtype = getattr(torch, course.dtype)
    news, wire = redis.Redis.from_url(course.redis, socket_timeout=None), Wire(course.host)
    total = torch.zeros(course.size // dtype.itemsize)
    out = total if dtype == torch.float32 else torch.zeros(len(total), dtype=dtype)
    body = bytes_of(out)
    fold = Folding(course, total, dtype)
    wire.put(course.put["0"], body)
    ready.send("ready")
    ends = [time.perf_counter()]
    for number in range(1, course.rounds + 1):
        total.zero_()
        for place in range(trainers):
            news.rpush(f"{GO}{place}", number)
        for _ in range(course.clients):
            fold.begin(course.get[f"{number}.{_news(news, DONE)}"])
        fold.finish(course.clients)
        total.div_(course.clients)
        if out is not total:
            out.copy_(total)
        wire.put(course.put[f"{number}"], body)
        ends.append(time.perf_counter())
    ready.send([after - before for before, after in itertools.pairwise(ends)])
    ready.send(peak_mib(multiprocessing.current_process().pid or 0))


class Folding:
    """Downloads in two threads, each into a buffer of its own; the sum under a lock."""

    def __init__(self, course: Course, total: Any, dtype: Any) -> None:
        import torch

        self._total = total
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(READERS)
        self._free: queue.SimpleQueue[tuple[Wire, Any, memoryview]] = queue.SimpleQueue()
        self._scratch = torch.empty(1 << 18)
        for _ in range(READERS):
            buffer = torch.zeros(course.size // dtype.itemsize, dtype=dtype)
            self._free.put((Wire(course.host), buffer, bytes_of(buffer)))
        self._begun: list[Any] = []

    def begin(self, path: str) -> None:
        self._begun.append(self._pool.submit(self._one, path))

    def finish(self, count: int) -> None:
        for one in self._begun:
            one.result()
        assert len(self._begun) == count
        self._begun = []

    def _one(self, path: str) -> None:
        wire, buffer, view = self._free.get()
        wire.get(path, view)
        with self._lock:
            if buffer.dtype == self._total.dtype:
                self._total.add_(buffer, alpha=1.0)
            else:
                for start in range(0, len(buffer), len(self._scratch)):
                    part = buffer[start : start + len(self._scratch)]
                    same = self._scratch[: len(part)].copy_(part)
                    self._total[start : start + len(part)].add_(same, alpha=1.0)
        self._free.put((wire, buffer, view))


def bytes_of(tensor: Any) -> memoryview:
    """A tensor's own memory, to be sent from or read into."""
    import torch

    held: Any = tensor.view(torch.uint8).numpy()
    return memoryview(held).cast("B")


def measure(on: Rig, *, size: int, dtype: str, clients: int, rounds: int, trainers: int) -> dict[str, Any]:
    """Run so many rounds; the seconds of each, bytes on the wire a round, and the processes' peak memory (MiB)."""
    course = _course(on, size, dtype, clients, rounds)
    wire = wire_bytes()
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(1 + trainers)]
    works: list[tuple[Any, tuple[Any, ...]]] = [(aggregate, (course, trainers, pipes[0][1]))]
    works += [(train, (course, place, trainers, pipes[1 + place][1])) for place in range(trainers)]
    processes = [context.Process(target=work, args=arguments, daemon=True) for work, arguments in works]
    for place in (*range(1, len(processes)), 0):  # the trainers wait when the aggregator comes
        processes[place].start()
        pipes[place][1].close()  # only the process itself holds it now: its end is an end of file
    for ours, _ in (*pipes[1:], pipes[0]):
        _heard(ours)
    seconds = _heard(pipes[0][0])
    peaks = [_heard(ours) for ours, _ in pipes]
    for process in processes:
        process.join()
    wire = wire_bytes() - wire
    left = on.client.list_objects(bucket_name=BUCKET, prefix=PREFIX, recursive=True)
    named = [DeleteObject(str(entry.object_name)) for entry in left]
    for error in on.client.remove_objects(bucket_name=BUCKET, delete_object_list=named):
        raise RuntimeError(f"not removed: {error}")
    found = {"seconds": seconds, "wire_bytes": wire / rounds}
    return found | {"peak_mib": {"aggregator": peaks[0], "trainer": max(peaks[1:])}}


def _heard(pipe: Connection) -> Any:
    if not pipe.poll(COURSE_SECONDS):
        raise TimeoutError(f"the floor's processes said nothing for {COURSE_SECONDS} s")
    try:
        return pipe.recv()
    except EOFError:
        raise RuntimeError("a process of the floor's ended early") from None


def _course(on: Rig, size: int, dtype: str, clients: int, rounds: int) -> Course:
    host = on.minio.url.removeprefix("http://")
    names = [f"{number}" for number in range(rounds + 1)]
    names += [f"{number}.{client}" for number in range(1, rounds + 1) for client in range(clients)]
    return Course(
        host=host,
        redis=on.redis.url,
        size=size,
        dtype=dtype,
        clients=clients,
        rounds=rounds,
        put={name: _signed(on.client, "PUT", name, host) for name in names},
        get={name: _signed(on.client, "GET", name, host) for name in names},
    )


def _signed(client: Minio, method: str, name: str, host: str) -> str:
    """The path and query of a presigned request."""
    url = client.get_presigned_url(
        method=method, bucket_name=BUCKET, object_name=PREFIX + name, expires=timedelta(hours=2)
    )
    return url.partition(host)[2]


__all__: Sequence[str] = ("measure",)
