"""A private Redis (or Valkey) that keeps its data over a SIGKILL: append-only file, each write synced."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .find import Found
from .process import LOOPBACK, Server, first_bytes, free_port


class RedisServer(Server):
    """Redis on the loopback without a password; `kill()`, `wipe()`, `start()`: it comes back empty."""

    name = "redis"

    def __init__(self, found: Found, folder: Path) -> None:
        super().__init__(folder)
        self.port = free_port()
        self._found = found
        self.container = f"warren-test-redis-{self.port}" if found.means == "image" else None

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    def command(self) -> Sequence[str]:
        settings = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        if not self.container:
            here = ["--bind", LOOPBACK, "--port", str(self.port), "--dir", str(self.data)]
            return [self._found.value, *here, *settings]
        run = ["docker", "run", "--rm", "--name", self.container, "-p", f"{LOOPBACK}:{self.port}:6379"]
        return [*run, "-v", f"{self.container}:/data", self._found.value, "redis-server", *settings]

    def ready(self) -> bool:
        return first_bytes(self.port, b"PING\r\n").startswith(b"+PONG")  # -LOADING while it reads its file

    def empty(self) -> None:
        """Drop all keys and the settings that a test may have changed."""
        for order in (b"FLUSHALL\r\n", b"CONFIG SET maxmemory 0\r\n"):
            answer = first_bytes(self.port, order, seconds=10)
            assert answer.startswith(b"+OK"), f"redis answered {answer!r}"

    def close(self) -> None:
        self.kill()  # nobody wants its data any more
